"""What the items of one change have in common, and how each is parsed apart from the others."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from chatsync.providers.body import JsonObject
from chatsync.providers.inbound import Item, Malformed, Source
from chatsync.providers.whatsapp_cloud.facts import Unusable, is_object, object_of, shown, time_of
from chatsync.providers.whatsapp_cloud.people import People

_WITH_IDS = ("messages", "message_echoes", "statuses", "calls")


@dataclass(slots=True)
class Change:
    """A change of an entry. `value` is the part of `raw` that holds the items."""

    raw: JsonObject
    value: JsonObject
    entry: JsonObject
    source: Source
    people: People
    _digest: str = ""

    @property
    def occurred_at(self) -> datetime:
        """When the provider spoke, for items that do not say so themselves."""
        try:
            return time_of(self.entry.get("time"))
        except Unusable:
            return self.source.received_at

    def is_business(self, number: object) -> bool:
        """Whether a number is the inbox's own, however either of them is written."""
        display = object_of(self.value.get("metadata")).get("display_phone_number")
        own = self.people.phone_number(display)
        return own is not None and own == self.people.phone_number(number)

    def notice_id(self, raw: object) -> str:
        """An id for what has none: a delivery that comes again brings the same."""
        if not self._digest:
            self._digest = _hash([self.raw.get("field"), self.value, self._moment()])
        return _hash([self._digest, raw])[:32]

    def _moment(self) -> object:
        """What tells one day's trouble from the next day's, or it would be noticed only once.

        That is the delivery's time, else ids that stand beside it, else the day of receipt.
        """
        if "time" in self.entry or any(name in self.value for name in _WITH_IDS):
            return self.entry.get("time")
        return self.source.received_at.date().isoformat()


Parser: TypeAlias = Callable[[JsonObject, Change], Item]


def guarded(parser: Parser, raw: object, change: Change) -> Item:
    """Parse one item; what cannot be understood is Malformed alone."""
    if not is_object(raw):
        return Malformed("not an object", raw)
    try:
        return parser(raw, change)
    except Unusable as error:
        return Malformed(str(error), raw)
    except Exception as error:  # A fault of ours must not take the other items with it.
        return Malformed(f"the parser failed: {shown(error)}", raw)


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
