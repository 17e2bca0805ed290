"""The items of a delivery, in its order. Never raises, and drops nothing silently."""

from collections.abc import Iterable

from chatsync.providers.body import JsonObject
from chatsync.providers.inbound import Item, Malformed, Source
from chatsync.providers.whatsapp_cloud.calls import parse_call
from chatsync.providers.whatsapp_cloud.change import Change, Parser, guarded
from chatsync.providers.whatsapp_cloud.contacts import (
    parse_preference,
    parse_state_sync,
    parse_user_id_update,
)
from chatsync.providers.whatsapp_cloud.facts import is_list, is_object, text_of
from chatsync.providers.whatsapp_cloud.history import parse_chunk
from chatsync.providers.whatsapp_cloud.messages import parse_echo, parse_message
from chatsync.providers.whatsapp_cloud.notices import account_notice, parse_error
from chatsync.providers.whatsapp_cloud.people import People
from chatsync.providers.whatsapp_cloud.statuses import parse_status

# The lists of a change's value, by name.
_PARSERS: dict[str, Parser] = {
    "messages": parse_message,
    "message_echoes": parse_echo,
    "statuses": parse_status,
    "calls": parse_call,
    "user_preferences": parse_preference,
    "user_id_update": parse_user_id_update,
    "state_sync": parse_state_sync,
    "errors": parse_error,
}


def parse(delivery: JsonObject, source: Source) -> list[Item]:
    """The items of a delivery that was split by inbox, in order."""
    entries = delivery.get("entry")
    if not is_list(entries):
        return [Malformed("a delivery without entries", delivery)]
    items: list[Item] = []
    for entry in entries:
        items.extend(_parse_entry(entry, source))
    return items


def _parse_entry(entry: object, source: Source) -> Iterable[Item]:
    if not is_object(entry):
        return (Malformed("an entry that is not an object", entry),)
    changes = entry.get("changes")
    if not is_list(changes) or not changes:
        return (Malformed("an entry without changes", entry),)
    account_id = source.account_id or text_of(entry.get("id")) or ""
    items: list[Item] = []
    for raw in changes:
        _parse_change(raw, entry, source, f"portfolio:{account_id}", items)
    return items


def _parse_change(
    raw: object, entry: JsonObject, source: Source, portfolio: str, items: list[Item]
) -> None:
    if not is_object(raw) or not is_object(value := raw.get("value")):
        items.append(Malformed("a change without a value", raw))
        return
    change = Change(raw, value, entry, source, People(value, source, portfolio))
    count = len(items)
    for name, listed in value.items():
        if name == "history":
            for chunk in _each(listed):
                items.extend(parse_chunk(chunk, change))
        elif name in _PARSERS:
            parser = _PARSERS[name]
            items.extend([guarded(parser, item, change) for item in _each(listed)])
    if len(items) == count:
        items.append(account_notice(change))


def _each(listed: object) -> Iterable[object]:
    # What stands in the place of a list is an item of it, and seldom a good one.
    return () if listed is None else listed if is_list(listed) else (listed,)
