// BullMQ. The worker waits at a paused queue until it is to begin.
import { Queue, Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { batches, converse, inTurns } from './conversation.js'

const connect = () => new Redis({ path: process.env.REDIS_PATH, maxRetriesPerRequest: null })
const queue = new Queue('work', { connection: connect() })
const defaults = { removeOnComplete: true }
let worker
let tally

await converse({
  install: () => queue.waitUntilReady(),

  enqueue: (payloads, settings) =>
    inTurns(batches(payloads, settings.enqueue_batch), settings.enqueue_at_once, (part) =>
      queue.addBulk(part.map((data) => ({ name: 'work', data, opts: defaults }))),
    ),

  async ready(settings) {
    await queue.pause()
    if (!worker) {
      worker = new Worker('work', async (job) => tally.add(job.data), {
        connection: connect(),
        concurrency: settings.concurrency,
      })
      worker.on('error', (error) => process.stderr.write(`error: ${error.message}\n`))
      await worker.waitUntilReady()
    }
  },

  async begin(begun) {
    tally = begun
    await queue.resume()
  },

  end: () => queue.pause(),
})
