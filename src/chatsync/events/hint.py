"""What a doorbell says: where to look. Never durable content; a lost one costs a poll interval.

Typing alone travels in it, since it is stored nowhere.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self, TypeVar, cast

from chatsync import strict_json

CHANNEL = "chatsync"
MAX_PAYLOAD_BYTES = 7900  # PostgreSQL refuses 8000 and more.
_ENVELOPE_BYTES = 100  # What stands around a list of one kind.

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Typed:
    """A user begins, goes on or stops typing in a conversation, in one of their sessions."""

    tenant_id: str
    conversation_id: str
    user_id: str
    name: str | None
    session_id: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class Hint:
    """Tenants whose logs grew, queues that got work, sessions whose device may have another one.

    `is_everything` says look everywhere, `outbox` only where events wait for their numbers.

    `by` names the process that rings, which has heard it already. `presence` names tenants of whom
    somebody came, changed or went. `was_deaf`: what was rung before may not have been heard.
    """

    tenants: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    probe: str | None = None
    is_everything: bool = False
    by: str | None = None
    sessions: frozenset[str] = frozenset()
    presence: frozenset[str] = frozenset()
    typing: tuple[Typed, ...] = ()
    was_deaf: bool = False
    outbox: bool = False

    def __or__(self, other: "Hint") -> "Hint":
        return Hint(
            self.tenants | other.tenants,
            self.queues | other.queues,
            other.probe or self.probe,
            self.is_everything or other.is_everything,
            other.by or self.by,
            self.sessions | other.sessions,
            self.presence | other.presence,
            self.typing + other.typing,
            self.was_deaf or other.was_deaf,
            self.outbox or other.outbox,
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
        if self.presence:
            named["presence"] = sorted(self.presence)
        if self.typing:
            named["typing"] = [astuple(typed) for typed in self.typing]
        if self.outbox:
            named["outbox"] = True
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
            presence=_names(named.get("presence")),
            typing=_typing(named.get("typing")),
            outbox=named.get("outbox") is True,
        )


def _name(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        return frozenset()
    return frozenset(name for name in cast(list[object], value) if isinstance(name, str))


def _typing(value: object) -> tuple[Typed, ...]:
    if not isinstance(value, list):
        return ()
    found = (_typed(each) for each in cast(list[object], value))
    return tuple(typed for typed in found if typed is not None)


def _typed(value: object) -> Typed | None:
    if not isinstance(value, list):
        return None
    match cast(list[object], value):
        case [str(tenant), str(conversation), str(user), name, str(session), bool(is_active)]:
            return Typed(tenant, conversation, user, _name(name), session, is_active)
        case _:
            return None


def in_payloads(presence: Sequence[str], typing: Sequence[Typed], by: str) -> list[str]:
    """Payloads that fit, however many they are."""
    return [
        *(Hint(by=by, presence=frozenset(part)).encode() for part in _parts(presence)),
        *(Hint(by=by, typing=tuple(part)).encode() for part in _parts(typing)),
    ]


def _parts(items: Sequence[_Item]) -> Iterable[list[_Item]]:
    """Cut a list into pieces of which each fits into a payload."""
    part: list[_Item] = []
    size = 0
    for item in items:
        length = len(json.dumps(astuple(item) if isinstance(item, Typed) else item)) + 1
        if part and size + length > MAX_PAYLOAD_BYTES - _ENVELOPE_BYTES:
            yield part
            part, size = [], 0
        part.append(item)
        size += length
    if part:
        yield part


EVERYTHING = Hint(is_everything=True)
AFTER_SILENCE = Hint(is_everything=True, was_deaf=True)
