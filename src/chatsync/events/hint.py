"""What a doorbell says: where to look. Never durable content; a lost one costs a poll interval."""

import json
from dataclasses import dataclass
from typing import Any, Self, cast

from chatsync import strict_json

CHANNEL = "chatsync"
MAX_PAYLOAD_BYTES = 7900  # PostgreSQL refuses 8000 and more.


@dataclass(frozen=True, slots=True)
class Hint:
    """Tenants whose logs grew, queues that got work, sessions whose device may have another one.

    `is_everything` says look everywhere.

    `by` names the process that rings, which has heard it already.
    """

    tenants: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    probe: str | None = None
    is_everything: bool = False
    by: str | None = None
    sessions: frozenset[str] = frozenset()

    def __or__(self, other: "Hint") -> "Hint":
        return Hint(
            self.tenants | other.tenants,
            self.queues | other.queues,
            other.probe or self.probe,
            self.is_everything or other.is_everything,
            other.by or self.by,
            self.sessions | other.sessions,
        )

    def encode(self) -> str:
        """The NOTIFY payload; a bare "look" where the names do not fit."""
        if self.is_everything:
            return ""
        named: dict[str, object] = {}
        if self.tenants:
            named["tenants"] = sorted(self.tenants)
        if self.queues:
            named["queues"] = sorted(self.queues)
        if self.sessions:
            named["sessions"] = sorted(self.sessions)
        if self.probe:
            named["probe"] = self.probe
        if self.by:
            named["by"] = self.by
        payload = json.dumps(named, separators=(",", ":"))
        return payload if len(payload.encode()) <= MAX_PAYLOAD_BYTES else ""

    @classmethod
    def decode(cls, payload: str) -> Self:
        """Read a payload from anyone: what is not ours means look everywhere."""
        try:
            named = strict_json.loads(payload)
        except ValueError:
            return cls(is_everything=True)
        if not isinstance(named, dict):
            return cls(is_everything=True)
        named = cast(dict[str, Any], named)
        return cls(
            _names(named.get("tenants")),
            _names(named.get("queues")),
            _name(named.get("probe")),
            by=_name(named.get("by")),
            sessions=_names(named.get("sessions")),
        )


def _name(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        return frozenset()
    return frozenset(name for name in cast(list[object], value) if isinstance(name, str))


EVERYTHING = Hint(is_everything=True)
