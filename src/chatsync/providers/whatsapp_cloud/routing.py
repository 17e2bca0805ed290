"""Which inbox each change of a delivery is for. Loses nothing, however malformed."""

import json
from dataclasses import dataclass

from chatsync.providers.body import JsonObject
from chatsync.providers.whatsapp_cloud.facts import is_list, is_object, text_of


@dataclass(frozen=True, slots=True)
class Part:
    """The changes of a delivery that are for one inbox, found by number or else by account."""

    phone_number_id: str | None
    account_id: str | None
    entries: list[object]

    def body(self) -> bytes:
        return json.dumps({"entry": self.entries}, separators=(",", ":")).encode()


def split(delivery: JsonObject) -> list[Part]:
    """Group the changes of a delivery by the inbox they name, in order.

    An entry that is no object, or a delivery without entries, is one part that names nobody.
    """
    parts: dict[tuple[str | None, str | None], Part] = {}
    entries = delivery.get("entry")
    for entry in entries if is_list(entries) else ():
        if not is_object(entry):
            _add(parts, None, None, entry)
            continue
        account_id = text_of(entry.get("id"))
        changes = entry.get("changes")
        if not is_list(changes) or not changes:
            _add(parts, None, account_id, entry)
            continue
        for change in changes:
            _add(parts, _phone_number_id(change), account_id, _entry(entry, account_id, change))
    return list(parts.values()) or [Part(None, None, [])]


def _add(
    parts: dict[tuple[str | None, str | None], Part],
    number: str | None,
    account_id: str | None,
    entry: object,
) -> None:
    key = (number, None) if number else (None, account_id)
    part = parts.get(key)
    if part is None:
        parts[key] = Part(number, account_id, [entry])
    else:
        part.entries.append(entry)


def _entry(entry: JsonObject, account_id: str | None, change: object) -> JsonObject:
    # Without its time, a notice of the account could not be told from an older one.
    if "time" in entry:
        return {"id": account_id, "time": entry["time"], "changes": [change]}
    return {"id": account_id, "changes": [change]}


def _phone_number_id(change: object) -> str | None:
    if not is_object(change) or not is_object(value := change.get("value")):
        return None
    metadata = value.get("metadata")
    return text_of(metadata.get("phone_number_id")) if is_object(metadata) else None
