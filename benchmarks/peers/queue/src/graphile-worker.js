// graphile-worker with its local queue and batched completions. A runner cannot be paused: it starts
// when it is to begin, on a pool that is connected.
import { Logger, makeWorkerUtils, run } from 'graphile-worker'
import pg from 'pg'
import { batches, converse, inTurns } from './conversation.js'

const logger = new Logger(() => (level, message) => {
  if (level === 'error') process.stderr.write(`error: ${message}\n`)
})
const pgPool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 })
pgPool.on('error', () => {})
let utils
let runner

await converse({
  async install() {
    utils = await makeWorkerUtils({ pgPool, logger })
    await utils.migrate()
  },

  async enqueue(payloads, settings) {
    const isKeyed = payloads[0].key !== null
    const first = Date.now() - payloads.length
    await inTurns(
      batches(payloads, settings.enqueue_batch),
      isKeyed ? 1 : settings.enqueue_at_once,
      (part) =>
        utils.addJobs(
          part.map((payload) => ({
            identifier: 'work',
            payload,
            queueName: isKeyed ? payload.key : undefined,
            // Jobs of a queue are in the order of their time, and those of one call have the same.
            runAt: isKeyed ? new Date(first + payload.n) : undefined,
          })),
        ),
    )
  },

  async begin(tally, keys, settings) {
    // A fetch finds one job of each queue.
    const isOfFew = keys > 0 && keys < settings.local_queue
    runner = await run({
      pgPool,
      logger,
      noHandleSignals: true,
      preset: {
        worker: {
          concurrentJobs: isOfFew ? Math.min(settings.concurrency, keys) : settings.concurrency,
          maxPoolSize: 20,
          localQueue: { size: isOfFew ? Math.max(keys, 2) : settings.local_queue },
          completeJobBatchDelay: settings.complete_delay_ms,
          // The next job of a queue is asked for before the last one has let go of it.
          pollInterval: settings.poll_ms,
        },
      },
      taskList: { work: async (payload) => tally.add(payload) },
    })
  },

  end: () => runner.stop(),
})
