"""Judges what a subscriber saw: dense, in order, equal to the log, nothing of another tenant."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from conftest import SyncConnection
from service.payloads import Frame


@dataclass
class Witness:
    """What one subscriber of a tenant's topic saw from its first cursor, by any transports."""

    tenant: str
    cursor: str
    events: list[Frame] = field(default_factory=list[Frame])
    began_at: int = -1

    def __post_init__(self) -> None:
        self.began_at = seq(self.cursor)

    def see(self, frame: Frame) -> None:
        """Take an `events` frame, or the answer of a poll: both cover (from, to]."""
        assert frame["from"] == self.cursor, "a gap or an overlap between two answers"
        inside = [event["seq"] for event in frame["events"]]
        assert all(seq(frame["from"]) < number <= seq(frame["to"]) for number in inside)
        self.cursor = frame["to"]
        self.events += frame["events"]


def seq(cursor: str) -> int:
    return int(cursor.rpartition(".")[2])


def judge(witness: Witness, log: Sequence[Frame]) -> None:
    """Compare with the log's events of the tenant, all of which concern the witness."""
    begin, end = witness.began_at, seq(witness.cursor)
    numbers = [event["seq"] for event in witness.events]
    assert numbers == list(range(begin + 1, end + 1)), "not dense, or not in order"
    for event in witness.events:
        assert f"tenant:{witness.tenant}" in event["topics"], "an event of another tenant"
    expected = [_content(event) for event in log if begin < event["seq"] <= end]
    assert [_content(event) for event in witness.events] == expected, "other than the log"


def read_log(owner: SyncConnection, tenant: str) -> list[Frame]:
    rows = owner.execute(
        "select jsonb_build_object('seq', seq, 'type', type, 'topics', topics, 'data', data)"
        " from chatsync.event_log where tenant_id = %s order by seq",
        [tenant],
    ).fetchall()
    return [cast(Frame, row[0]) for row in rows]


def _content(event: Frame) -> tuple[object, ...]:
    return event["seq"], event["type"], event["topics"], event["data"]
