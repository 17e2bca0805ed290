"""Receipts as gateways write them and operators read them."""

from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from conftest import SyncConnection
from sql.queue_calls import value

TOPICS = ("tenant:t1", "user:u1")


def take(
    gateway: SyncConnection, session: str, device: str = "d", days: int = 7, user: str = "u1"
) -> tuple[Any, ...]:
    """(epoch, seq, topics, taken from)"""
    row = gateway.execute(
        "select * from chatsync.take_device('t1', %s, %s, %s, %s)", [user, device, session, days]
    ).fetchone()
    assert row is not None
    return row


def take_all(gateway: SyncConnection, *taken: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """By session: (epoch, seq, topics, taken from)"""
    rows = gateway.execute("select * from chatsync.take_devices(%s, 7)", [Jsonb(list(taken))])
    return {str(row[0]): row[1:] for row in rows.fetchall()}


def receipt(
    session: str,
    seq: int | None = None,
    *,
    device: str = "d",
    user: str = "u1",
    epoch: str | None = None,
    topics: Sequence[str] = TOPICS,
    is_open: bool = True,
) -> dict[str, Any]:
    named: dict[str, Any] = {
        "tenant": "t1",
        "user": user,
        "device": device,
        "session": session,
        "isOpen": is_open,
    }
    if seq is not None:
        named |= {"epoch": epoch, "seq": seq, "topics": list(topics)}
    return named


def write(gateway: SyncConnection, *receipts: dict[str, Any]) -> list[str]:
    return value(gateway, "select chatsync.write_receipts(%s)", [Jsonb(list(receipts))])


def epoch_of(owner: SyncConnection) -> str:
    return value(owner, "select epoch from chatsync.streams where tenant_id = 't1'")


def position(owner: SyncConnection, device: str = "d") -> tuple[Any, ...]:
    """(session, is open, seq, topics)"""
    row = owner.execute(
        "select session_id, is_open, seq, topics from chatsync.receipts where device = %s", [device]
    ).fetchone()
    assert row is not None
    return row
