"""Which conversations a session's user may see, where an operator's rule hides some. No SQL here.

A topic may be granted whose events are of many conversations, as the tenant's is. While everybody
sees everything nothing is looked at; else each event is given only when all that it is about is
known to be seen. What is known of a conversation holds until access changes; who sees a contact
changes with each conversation, so that it is asked for each page.
"""

import json
from collections.abc import Sequence
from typing import cast

from chatsync.gateway.access import Access
from chatsync.model import Claims, Event

# Conversations and contacts; a busy agent's day has fewer.
MAX_KNOWN = 10_000
# Those that say only in their data what they are about.
_IN_DATA = {"conversation:new": "conversation", "contact:updated": "contact"}


class Sight:
    """What one user sees."""

    __slots__ = ("_contacts", "_known", "is_limited")

    def __init__(self, *, is_limited: bool = False) -> None:
        self.is_limited = is_limited
        self._known: dict[str, bool] = {}
        # Of the page that was looked at last, and of no other.
        self._contacts: dict[str, bool] = {}

    def begin(self, *, is_limited: bool) -> None:
        """Forget what was known: access may have changed."""
        self.is_limited = is_limited
        self._known.clear()
        self._contacts.clear()

    async def look(self, access: Access, claims: Claims, found: Sequence[Event]) -> None:
        """Have it known what these events are about, to give them next.

        Raises DatabaseUnavailable.
        """
        unknown = self.unknown(found)
        if len(self._known) + len(unknown) > MAX_KNOWN:
            self._known.clear()
            # What was known is asked for again: the events may be about that, too.
            unknown = self.unknown(found)
        self._contacts.clear()
        if unknown:
            seen = await access.visible(claims, unknown)
            for each in unknown:
                kept = self._contacts if each.startswith("contact:") else self._known
                kept[each] = each in seen

    def unknown(self, found: Sequence[Event]) -> list[str]:
        """What the events are about and is to be asked for before they are given."""
        if not self.is_limited:
            return []
        return sorted({each for event in found for each in about(event)} - self._known.keys())

    def visible(self, found: Sequence[Event]) -> Sequence[Event]:
        """The events that may be given; what is not known is hidden."""
        if not self.is_limited:
            return found
        known = self._known | self._contacts if self._contacts else self._known
        return [event for event in found if all(map(known.get, about(event)))]


def about(event: Event) -> set[str]:
    """The conversations and contacts of an event, as `conversation:1`."""
    found = {topic for topic in event.topics if topic.startswith("conversation:")}
    if (name := _IN_DATA.get(event.kind)) is not None:
        # Whoever publishes in SQL may name an event like ours and say anything in it.
        match _member(_member(json.loads(event.encoded), "data"), name):
            case {"id": object() as entity_id}:
                found.add(f"{name}:{entity_id}")
            case _:
                pass
    return found


def _member(value: object, name: str) -> object:
    return cast(dict[str, object], value).get(name) if isinstance(value, dict) else None
