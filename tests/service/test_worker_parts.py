"""A batch of several parts: in order and once, whatever is in it and whoever dies in the middle."""

import json
from pathlib import Path

import pytest

from conftest import SyncConnection
from service.harness import create_inbox, process, wait_for
from service.payloads import delivery, said
from sql.queue_calls import count, value

MESSAGES = 700
BAD = 333


@pytest.fixture
def queued(database_url: str, owner: SyncConnection) -> list[int]:
    """Deliveries of one inbox, of which one is not JSON; the numbers of those that are good."""
    inbox = create_inbox(database_url)
    bodies = [
        json.dumps(delivery(said(str(number), f"w{number}"))).encode() for number in range(MESSAGES)
    ]
    bodies[BAD] = b"{"
    owner.execute(
        "select chatsync.enqueue_deliveries(%s, %s, %s)",
        [[inbox] * MESSAGES, [f"c{number}" for number in range(MESSAGES)], bodies],
    )
    return [number for number in range(MESSAGES) if number != BAD]


def test_a_bad_delivery_inside_a_part_is_put_aside_alone(
    database_url: str, owner: SyncConnection, tmp_path: Path, queued: list[int]
) -> None:
    with process("work", database_url=database_url, log=tmp_path / "log"):
        wait_for(lambda: is_done(owner), "the end of the queue")

    assert told(owner) == queued
    letter = owner.execute(
        "select correlation_id, payload from chatsync.failed_messages"
    ).fetchall()
    assert letter == [(f"c{BAD}", b"{")]
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_who_dies_between_two_parts_leaves_the_rest_to_others(
    database_url: str, owner: SyncConnection, tmp_path: Path, queued: list[int]
) -> None:
    with process("work", database_url=database_url, log=tmp_path / "log") as doomed:
        wait_for(lambda: count(owner, "messages"), "the first part")
        doomed.kill()
        doomed.wait()
    with process("work", database_url=database_url, log=tmp_path / "log"):
        wait_for(lambda: is_done(owner), "the end of the queue")

    assert told(owner) == queued
    assert count(owner, "failed_messages") == 1
    assert count(owner, "queue_lanes") == 1


def is_done(owner: SyncConnection) -> bool:
    return not value(
        owner,
        "select exists (select from chatsync.message_queue)"
        " or exists (select from chatsync.outbox)",
    )


def told(owner: SyncConnection) -> list[int]:
    return value(
        owner,
        "select array_agg((data -> 'message' ->> 'content')::int order by seq)"
        " from chatsync.event_log where type = 'message:new'",
    )
