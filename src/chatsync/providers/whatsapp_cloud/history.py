"""Conversations from before the inbox was connected: `history[]`, in chunks of threads."""

from collections.abc import Iterable, Iterator

from chatsync.providers.body import JsonObject
from chatsync.providers.inbound import Ignored, Item, Malformed, MessageStatus
from chatsync.providers.whatsapp_cloud.change import Change, guarded
from chatsync.providers.whatsapp_cloud.facts import is_list, is_object, object_of, text_of
from chatsync.providers.whatsapp_cloud.messages import said
from chatsync.providers.whatsapp_cloud.notices import parse_history_error

_STATUSES: dict[str, MessageStatus] = {
    "PENDING": "PENDING",
    "SENT": "SENT",
    "DELIVERED": "DELIVERED",
    "READ": "READ",
    "PLAYED": "READ",
    "ERROR": "FAILED",
}


def parse_chunk(raw: object, change: Change) -> Iterator[Item]:
    """The items of a chunk: messages of its threads, or the reasons why there are none."""
    if not is_object(raw):
        yield Malformed("not an object", raw)
        return
    errors, threads = _listed(raw, "errors"), _listed(raw, "threads")
    for error in errors:
        yield guarded(parse_history_error, error, change)
    for thread in threads:
        yield from _parse_thread(thread, change)
    if not errors and not threads:
        yield Ignored("a chunk of history without threads")


def _parse_thread(raw: object, change: Change) -> Iterable[Item]:
    if not is_object(raw):
        return [Malformed("not an object", raw)]
    context = object_of(raw.get("context"))
    person: JsonObject = {
        "wa_id": text_of(context.get("wa_id")) or raw.get("id"),
        "user_id": context.get("user_id"),
        "parent_user_id": context.get("parent_user_id"),
        "profile": {"username": context.get("username")},
    }

    def parse(message: JsonObject, change: Change) -> Item:
        return _parse_message(message, change, person)

    messages = [guarded(parse, message, change) for message in _listed(raw, "messages")]
    return messages or [Ignored("a thread of history without messages")]


def _parse_message(raw: JsonObject, change: Change, person: JsonObject) -> Item:
    is_in_group = text_of(raw.get("group_id")) is not None
    is_outbound = change.is_business(raw.get("from"))
    side = "to" if is_outbound else "from"
    ids = (raw.get(side), raw.get(f"{side}_user_id"), raw.get(f"{side}_parent_user_id"))
    # The thread of a group is no person, and an author of ours no contact.
    if is_in_group:
        contact = None if is_outbound else change.people.contact_of(ids, None)
    else:
        contact = change.people.contact_in(person, *ids)
    status = object_of(raw.get("history_context")).get("status")
    return said(
        raw,
        change,
        contact,
        direction="OUTBOUND" if is_outbound else "INBOUND",
        origin="history",
        status=_STATUSES.get(status.upper()) if is_outbound and isinstance(status, str) else None,
    )


def _listed(raw: JsonObject, key: str) -> list[object]:
    value = raw.get(key)
    return value if is_list(value) else [] if value is None else [value]
