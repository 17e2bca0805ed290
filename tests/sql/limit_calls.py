"""Limits as operators set them, and what must be true of them."""

from conftest import SyncConnection
from sql.queue_calls import QUEUE, count, value

# Messages in flight, of each tenant and inbox.
IN_FLIGHT = """
    select tenant_id, inbox_id, count(*) from chatsync.message_queue
    where lease_id is not null group by tenant_id, inbox_id
"""


def limit(connection: SyncConnection, most: int, per: str, tenant: str | None = None) -> None:
    value(connection, "select chatsync.limit_in_flight(%s, %s, %s, %s)", [QUEUE, most, per, tenant])


def rate(
    connection: SyncConnection, most: int, every: str, per: str, burst: int | None = None
) -> None:
    value(
        connection,
        "select chatsync.limit_rate(%s, %s, %s, %s, p_burst => %s)",
        [QUEUE, most, every, per, burst],
    )


def enqueue_for(connection: SyncConnection, tenant: str, key: str | None, label: object) -> int:
    return value(
        connection,
        "select chatsync.enqueue(%s, %s, 'test', jsonb_build_object('label', %s::text),"
        " p_ordering_key => %s, p_inbox_id => 7, p_max_retries => 1000000)",
        [QUEUE, tenant, str(label), key],
    )


def assert_nothing_is_left(owner: SyncConnection) -> None:
    """Nothing waits, nothing is parked, and no bucket is crowded."""
    for table in ("message_queue", "lane_turns", "queue_lanes"):
        assert count(owner, table) == 0, table
    assert value(owner, "select count(*) from chatsync.limit_buckets where is_crowded") == 0
