// pg-boss with batches, several workers, and no rest after a full batch. `work` starts when it is to
// begin, on an instance that is started.
import { PgBoss } from 'pg-boss'
import { batches, converse, inTurns } from './conversation.js'

const boss = new PgBoss({
  connectionString: process.env.DATABASE_URL,
  max: 12,
  // How soon a burst is known to be one.
  superviseIntervalSeconds: 1,
  monitorIntervalSeconds: 1,
  queueCacheIntervalSeconds: 1,
})
boss.on('error', (error) => process.stderr.write(`error: ${error.message}\n`))
let queue = 'work'
let made = 0

// Jobs of one insert are in the order of their ids, so ids have to be in order for a key to be.
const orderedId = () => `01900000-0000-7000-8000-${(made++).toString(16).padStart(12, '0')}`

await converse({
  async install() {
    await boss.start()
    await boss.createQueue('work')
    await boss.createQueue('keyed', { policy: 'key_strict_fifo' })
  },

  async enqueue(payloads, settings) {
    const isKeyed = payloads[0].key !== null
    queue = isKeyed ? 'keyed' : 'work'
    await inTurns(
      batches(payloads, settings.enqueue_batch),
      isKeyed ? 1 : settings.enqueue_at_once,
      (part) =>
        boss.insert(
          queue,
          part.map((data) => (isKeyed ? { id: orderedId(), data, singletonKey: data.key } : { data })),
        ),
    )
  },

  async begin(tally, keys, settings) {
    await boss.work(
      queue,
      {
        // A fetch finds one job of each key, and after a batch that is not full a worker rests.
        batchSize: keys ? Math.min(settings.batch, keys) : settings.batch,
        localConcurrency: settings.workers,
        burstWhenBatchFull: true,
        burstWhenReadyExceeds: 1,
        pollingIntervalSeconds: 0.5,
      },
      async (jobs) => {
        for (const job of jobs) tally.add(job.data)
      },
    )
  },

  end: () => boss.offWork(queue),
})
