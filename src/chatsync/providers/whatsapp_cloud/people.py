"""Who it is about: phone numbers, business-scoped user ids (BSUIDs) and what `contacts[]` adds.

A contact may be known by any of them alone. Must never join two people: what is joined here
becomes one contact for good.
"""

import re

from chatsync.providers.body import JsonObject
from chatsync.providers.inbound import Contact, Identity, Source
from chatsync.providers.whatsapp_cloud.facts import Unusable, is_list, is_object, text_of

# A business-scoped user id: a country, a dot, at most 128 letters and digits; ENT marks a parent.
_BSUID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}", re.ASCII)
# How people write phone numbers; the Cloud API does so in display numbers and address books.
_PHONE_PUNCTUATION = str.maketrans("", "", "+-()./ \u00a0")
_MAX_NAME_LENGTH = 200
_WHO = ("from", "from_user_id", "to", "to_user_id", "recipient_id", "recipient_user_id", "wa_id")


class People:
    """Those whom a change names in `contacts[]`, and how their ids are read.

    `portfolio` is the scope in which BSUIDs hold.
    """

    __slots__ = ("_by_id", "_inbox", "_is_one", "_only", "_portfolio", "_value")

    def __init__(self, value: JsonObject, source: Source, portfolio: str) -> None:
        self._value = value
        self._inbox = f"inbox:{source.inbox_id}"
        self._portfolio = portfolio
        self._only: JsonObject | None = None
        self._by_id: dict[str, JsonObject] = {}
        self._is_one: bool | None = None
        entries = value.get("contacts")
        if is_list(entries) and entries:
            if len(entries) == 1:
                self._only = entries[0] if is_object(entries[0]) else None
            else:
                self._by_id = _by_id(entries)

    def contact(self, *ids: object) -> Contact:
        """Join what an item and `contacts[]` say of one person. Raises Unusable for nobody."""
        return self.contact_of(ids, self._find(ids))

    def contact_of(self, ids: tuple[object, ...], person: JsonObject | None) -> Contact:
        """The contact with these ids and those of an entry of `contacts[]`."""
        name = username = None
        if person is not None:
            ids = (*ids, person.get("wa_id"), person.get("user_id"), person.get("parent_user_id"))
            profile = person.get("profile")
            if is_object(profile):
                name = text_of(profile.get("name"))
                username = text_of(profile.get("username"))
        identities = self._identities(ids)
        if not identities:
            raise Unusable("from nobody")
        phone = next((one.value for one in identities if one.kind == "phone"), None)
        known: JsonObject = {"username": username.removeprefix("@")} if username else {}
        return Contact(tuple(identities), name, phone, profile=known)

    def contact_in(self, thread: JsonObject, *ids: object) -> Contact:
        """The person of a thread, unless an item names somebody else."""
        is_named = any(isinstance(one, str) and one for one in ids)
        return self.contact_of(ids, thread if not is_named or _is_among(thread, ids) else None)

    def group(self, group_id: str) -> Contact:
        return Contact((Identity(self._inbox, "group", group_id),))

    def phone_number(self, value: object) -> str | None:
        """The digits of a phone number, unless a BSUID stands in its place."""
        identity = self._identity(value) if isinstance(value, str) else None
        return identity.value if identity and identity.kind == "phone" else None

    def _find(self, ids: tuple[object, ...]) -> JsonObject | None:
        only = self._only
        if only is None:
            found = (self._by_id.get(one) for one in ids if isinstance(one, str))
            return next((person for person in found if person), None) if self._by_id else None
        return only if _is_among(only, ids) or self._belongs(only, ids) else None

    def _belongs(self, only: JsonObject, ids: tuple[object, ...]) -> bool:
        """Whether the only person is meant although no id says so.

        The number that a customer writes from may differ from the account's by a digit (Brazil,
        Mexico). Of two BSUIDs, or where items are of several people, it is somebody else.
        """
        if only.get("user_id") and any(isinstance(one, str) and _BSUID.match(one) for one in ids):
            return False
        if self._is_one is None:
            items = [
                item
                for key, listed in self._value.items()
                if key != "contacts" and is_list(listed)
                for item in listed
                if is_object(item)
            ]
            self._is_one = all(
                item.get(key) == items[0].get(key) for item in items[1:] for key in _WHO
            )
        return self._is_one

    def _identities(self, ids: tuple[object, ...]) -> list[Identity]:
        identities: list[Identity] = []
        values: list[str] = []
        for one in ids:
            if isinstance(one, str) and one and one not in values:
                identity = self._identity(one)
                if identity is not None and identity.value not in values:
                    values.append(identity.value)
                    identities.append(identity)
        return identities

    def _identity(self, value: str) -> Identity | None:
        if value.isdigit() and value.isascii():
            return Identity("tenant", "phone", value)
        match = _BSUID.fullmatch(value)
        if match is not None:
            return Identity(self._portfolio, "parent_bsuid" if match[1] else "bsuid", value)
        digits = value.translate(_PHONE_PUNCTUATION)
        if digits.isdigit() and digits.isascii():
            return Identity("tenant", "phone", digits)
        # Neither, but a name all the same: who writes under it must not be lost.
        is_name = digits and len(value) <= _MAX_NAME_LENGTH
        return Identity(self._inbox, "external", value) if is_name else None


def _is_among(person: JsonObject, ids: tuple[object, ...]) -> bool:
    phone, user_id, parent_id = (
        person.get("wa_id"),
        person.get("user_id"),
        person.get("parent_user_id"),
    )
    return bool(
        (phone and phone in ids) or (user_id and user_id in ids) or (parent_id and parent_id in ids)
    )


def _by_id(entries: list[object]) -> dict[str, JsonObject]:
    people: dict[str, JsonObject] = {}
    for person in entries:
        if is_object(person):
            for key in ("wa_id", "user_id", "parent_user_id"):
                if one := text_of(person.get(key)):
                    people.setdefault(one, person)
    return people
