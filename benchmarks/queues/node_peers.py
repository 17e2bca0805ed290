"""pg-boss, graphile-worker and BullMQ, each a program for Node."""

from queues.needs import NODE, PEERS
from queues.system import System

PG_BOSS = System(
    name="pg-boss",
    program=(str(NODE), str(PEERS / "src" / "pg-boss.js")),
    packages=("pg-boss", "pg"),
    settings={"enqueue_batch": 1_000, "enqueue_at_once": 2, "batch": 500, "workers": 4},
    per_key="policy key_strict_fifo, singletonKey",
    keyed_settings={"workers": 1},
    left="select exists (select from pgboss.job where state < 'completed')",
    purge="truncate pgboss.job cascade",
)

GRAPHILE_WORKER = System(
    name="graphile-worker",
    program=(str(NODE), str(PEERS / "src" / "graphile-worker.js")),
    packages=("graphile-worker",),
    settings={
        "enqueue_batch": 1_000,
        "enqueue_at_once": 2,
        "concurrency": 24,
        "local_queue": 1_000,
        "complete_delay_ms": 50,
        "poll_ms": 2_000,
    },
    per_key="queueName",
    keyed_settings={"complete_delay_ms": 0, "poll_ms": 2},
    left="select exists (select from graphile_worker._private_jobs)",
    purge="truncate graphile_worker._private_jobs, graphile_worker._private_job_queues",
)

BULLMQ = System(
    name="BullMQ",
    program=(str(NODE), str(PEERS / "src" / "bullmq.js")),
    packages=("bullmq", "ioredis"),
    settings={"enqueue_batch": 1_000, "enqueue_at_once": 2, "concurrency": 200},
    has_redis=True,
)
