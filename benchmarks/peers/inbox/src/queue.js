// The BullMQ queue of deliveries and its worker, both on one Redis.

import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const NAME = 'inbound';

const JOB_OPTIONS = {
  attempts: 5,
  backoff: { type: 'exponential', delay: 1000 },
  removeOnComplete: true, // the fastest: nothing of a finished job is kept in Redis
  removeOnFail: false, // what failed for good is the dead letter queue
};

export function openQueue({ redisPath }) {
  // A webhook should fail at once while Redis is away, not wait in memory.
  const connection = new Redis({ path: redisPath, enableOfflineQueue: false });
  return new Queue(NAME, { connection, defaultJobOptions: JOB_OPTIONS });
}

/**
 * Returns when Redis has the job. It has no id of its own making: a job that is done leaves none
 * behind, so what is delivered twice is found by the unique key of messages, as in chatsync.
 */
export function enqueue(queue, part) {
  return queue.add('delivery', part);
}

/** Makes the worker; it takes jobs when `run` is called. */
export function openWorker({ redisPath, concurrency }, handle) {
  // BullMQ asks for this: a blocked command has to outlive a lost connection.
  const connection = new Redis({ path: redisPath, maxRetriesPerRequest: null });
  const worker = new Worker(NAME, (job) => handle(job.data), {
    connection,
    concurrency,
    autorun: false,
  });
  worker.on('error', (error) => console.error('worker', error));
  worker.on('failed', (job, error) => console.error('job failed', job?.id, error));
  return worker;
}
