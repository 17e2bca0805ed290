"""Every metric of chatsync, in one table. Labels are bounded: never a tenant, user or topic."""

import os
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

# From a bare commit on a local disk to an outage that a person notices.
_SECONDS: Sequence[float] = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60,
)  # fmt: skip

WEBHOOKS = Counter(
    "chatsync_webhooks_total", "Webhook deliveries answered.", ["provider", "outcome"]
)
WEBHOOK_SECONDS = Histogram(
    "chatsync_webhook_seconds", "From a delivery's last byte to its answer.", buckets=_SECONDS
)
QUEUE_SETTLED = Counter(
    "chatsync_queue_settled_total", "Queue messages settled.", ["queue", "outcome"]
)
QUEUE_BATCH_SECONDS = Histogram(
    "chatsync_queue_batch_seconds", "From a claim to its settlement.", ["queue"], buckets=_SECONDS
)
ITEMS_PUT_ASIDE = Counter(
    "chatsync_items_put_aside_total", "Items of deliveries that change nothing.", ["reason"]
)
QUEUE_FREED = Counter("chatsync_queue_freed_total", "Messages taken over from dead workers.")
STAMPS = Counter("chatsync_stamps_total", "Stamps by this process that numbered events.")
LISTENER_REPLACED = Counter(
    "chatsync_listener_replaced_total", "LISTEN connections that were replaced.", ["reason"]
)
SESSIONS = Gauge("chatsync_sessions", "Open sessions.", ["transport"], multiprocess_mode="livesum")
SESSIONS_CLOSED = Counter(
    "chatsync_sessions_closed_total", "Sessions that ended, by whom and how.", ["by", "code"]
)
RESUMES = Counter(
    "chatsync_resumes_total", "Sessions opened, by how they began.", ["outcome", "source"]
)
EVENTS_DELIVERED = Counter("chatsync_events_delivered_total", "Events written to sessions.")
EVENTS_REDELIVERED = Counter(
    "chatsync_events_redelivered_total", "Events written again, since they were not acknowledged."
)
DELIVERIES = Counter(
    "chatsync_deliveries_total", "What became of events written to sessions.", ["outcome"]
)
RECEIPT_WRITES = Counter(
    "chatsync_receipt_writes_total", "Statements that wrote what devices acknowledged."
)
READS = Counter("chatsync_reads_total", "Queries answered.", ["source"])
FEED_READS = Counter("chatsync_feed_reads_total", "Reads of the log by this gateway.", ["reason"])
COMMIT_TO_GATEWAY_SECONDS = Histogram(
    "chatsync_commit_to_gateway_seconds",
    "From publishing an event to its arrival in this gateway.",
    buckets=_SECONDS,
)
EPHEMERALS_DROPPED = Counter(
    "chatsync_ephemerals_dropped_total", "Typing that was not passed on.", ["reason"]
)
PRESENCE_WRITES = Counter("chatsync_presence_writes_total", "Writes of changed presence.")
COMMIT_TO_STAMP_SECONDS = Histogram(
    "chatsync_commit_to_stamp_seconds",
    "From publishing an event to its number.",
    buckets=_SECONDS,
)
STAMP_TO_GATEWAY_SECONDS = Histogram(
    "chatsync_stamp_to_gateway_seconds",
    "From an event's number to its arrival in this gateway.",
    buckets=_SECONDS,
)
GATEWAY_TO_WRITE_SECONDS = Histogram(
    "chatsync_gateway_to_write_seconds",
    "From the arrival of events to the end of the pass that wrote them to sessions.",
    buckets=_SECONDS,
)
WRITE_TO_ACK_SECONDS = Histogram(
    "chatsync_write_to_ack_seconds",
    "From writing events to their acknowledgement.",
    buckets=_SECONDS,
)
CURSOR_LAG = Gauge(
    "chatsync_cursor_lag_events",
    "How far the furthest session is behind its log.",
    ["position"],
    multiprocess_mode="livemax",
)
SESSIONS_BEHIND = Gauge(
    "chatsync_sessions_behind",
    "Sessions that were not sent all there is.",
    multiprocess_mode="livesum",
)
HTTP_REQUESTS = Counter("chatsync_http_requests_total", "HTTP answers.", ["status"])


def render(multiprocess_dir: str | None) -> tuple[bytes, str]:
    """The exposition text and its content type; of all worker processes where there are several."""
    registry = REGISTRY
    if multiprocess_dir is not None:
        _forget_dead_processes(Path(multiprocess_dir))
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=multiprocess_dir)
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _forget_dead_processes(folder: Path) -> None:
    """Take back the gauges of worker processes that were killed and could not do it themselves."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            for gauge in folder.glob(f"gauge_live*_{pid}.db"):
                gauge.unlink(missing_ok=True)
