"""What a handler gets of a queue message."""

from datetime import UTC, datetime

import pytest

from chatsync.errors import Permanent
from chatsync.queue.message import QueueMessage
from chatsync.worker.message import Reader

AT = datetime(2026, 1, 1, tzinfo=UTC)


def message(payload: str | None) -> QueueMessage:
    return QueueMessage(1, "mail", "t1", 7, "test", "c-1", "k", payload, None, None, 2, 1, 1, AT)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (None, None),
        ("null", None),
        ('{"a": [1, "é\\ud83d\\ude00"]}', {"a": [1, "é😀"]}),
        ("12345678901234567890123", 12345678901234567890123),
        ("1.5", 1.5),
    ],
)
def test_a_payload_is_what_its_json_says(payload: str | None, expected: object) -> None:
    read = Reader[object](None).read(message(payload))

    assert read.payload == expected
    assert (read.inbox_id, read.attempt, read.metadata) == (7, 2, {})


def test_a_deep_payload_is_read_as_well() -> None:
    payload = Reader[object](None).read(message("[" * 500 + "]" * 500)).payload

    for _ in range(499):
        assert isinstance(payload, list)
        payload = payload[0]
    assert payload == []


def test_a_payload_of_another_type_is_permanent() -> None:
    with pytest.raises(Permanent, match="the payload is no int: it: Input should be"):
        Reader(int).read(message('"x"'))


def test_no_payload_is_null() -> None:
    assert Reader(int | None).read(message(None)).payload is None  # pyright: ignore[reportArgumentType]
