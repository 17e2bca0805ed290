"""A client of chatsync: every event once and in order, over any network. See docs/client.md."""

from chatsync.client.client import Client
from chatsync.client.entries import (
    Connected,
    Disconnected,
    Entry,
    Ephemeral,
    Event,
    Snapshot,
    SnapshotNeeded,
    Subscription,
)
from chatsync.client.pace import Pace
from chatsync.errors import ConnectionLost, ProtocolViolation, RequestError, SessionEnded

__all__ = [
    "Client",
    "Connected",
    "ConnectionLost",
    "Disconnected",
    "Entry",
    "Ephemeral",
    "Event",
    "Pace",
    "ProtocolViolation",
    "RequestError",
    "SessionEnded",
    "Snapshot",
    "SnapshotNeeded",
    "Subscription",
]
