"""The contacts of one batch: items of one person get one key, and no identity stands under two.

Union-find over identities. Pure; what is already known of a contact is the database's business.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from chatsync.providers.inbound import Contact

_Node: TypeAlias = tuple[str, str, str, str]  # tenant, scope, kind, value


@dataclass(slots=True)
class _Known:
    """What a batch says of one person; the newest word counts, a contact's own before others'."""

    name: str | None = None
    named_by: tuple[bool, datetime] | None = None
    number: str | None = None
    number_by: tuple[bool, datetime] | None = None
    profile: dict[str, tuple[datetime, Any]] = field(default_factory=dict[str, Any])

    def hear(
        self, contact: Contact, profile: dict[str, Any], *, is_own: bool, at: datetime
    ) -> None:
        if contact.name and (self.named_by is None or (is_own, at) >= self.named_by):
            self.name, self.named_by = contact.name, (is_own, at)
        by = (contact.is_new_number, at)
        # Of numbers that are nobody's news the first one stays.
        if contact.phone_number and (
            self.number_by is None or (contact.is_new_number and by >= self.number_by)
        ):
            self.number, self.number_by = contact.phone_number, by
        for name, value in profile.items():
            if name not in self.profile or at >= self.profile[name][0]:
                self.profile[name] = (at, value)

    def join(self, other: "_Known") -> None:
        if other.named_by and (self.named_by is None or other.named_by > self.named_by):
            self.name, self.named_by = other.name, other.named_by
        if other.number_by and (self.number_by is None or other.number_by > self.number_by):
            self.number, self.number_by = other.number, other.number_by
        for name, heard in other.profile.items():
            if name not in self.profile or heard[0] > self.profile[name][0]:
                self.profile[name] = heard


class People:
    """Contacts as they are met; `key` them once all are in."""

    def __init__(self) -> None:
        self._numbers: dict[_Node, int] = {}
        self._parents: list[int] = []
        self._known: dict[int, _Known] = {}
        self._keys: dict[int, int] = {}

    def add(
        self,
        tenant_id: str,
        contact: Contact,
        *,
        is_own: bool,
        at: datetime,
        preferences: dict[str, Any] | None = None,
    ) -> int:
        """Take a contact in; returns a number that `key` understands."""
        root = -1
        for identity in contact.identities:
            node = (tenant_id, identity.scope, identity.kind, identity.value)
            number = self._numbers.get(node)
            if number is None:
                number = self._numbers[node] = len(self._parents)
                self._parents.append(number)
            root = self._root(number) if root < 0 else self._join(root, self._root(number))
        known = self._known.get(root)
        if known is None:
            known = self._known[root] = _Known()
        profile = contact.profile
        if preferences:
            profile = profile | {f"preferences.{one}": said for one, said in preferences.items()}
        known.hear(contact, profile, is_own=is_own, at=at)
        return root

    def key(self, number: int) -> int:
        """The key of a person, dense from 0."""
        return self._keys.setdefault(self._root(number), len(self._keys))

    def documents(self) -> list[dict[str, Any]]:
        """Everybody, as resolve_contacts() takes them, in the order of their keys."""
        documents: dict[int, dict[str, Any]] = {}
        for (tenant_id, scope, kind, value), number in self._numbers.items():
            root = self._root(number)
            document = documents.get(root)
            if document is None:
                document = documents[root] = self._document(root, tenant_id)
            document["identities"].append({"scope": scope, "kind": kind, "value": value})
        return sorted(documents.values(), key=lambda document: document["key"])

    def _document(self, root: int, tenant_id: str) -> dict[str, Any]:
        known = self._known[root]
        document: dict[str, Any] = {
            "key": self.key(root),
            "tenantId": tenant_id,
            "name": known.name,
            "phoneNumber": known.number,
            "identities": [],
        }
        # What the business says may name a contact, but not rename one.
        if known.named_by is not None and known.named_by[0]:
            document |= {"isRenamed": True, "namedAt": known.named_by[1].isoformat()}
        if known.number_by is not None and known.number_by[0]:
            document |= {"isNewNumber": True, "numberedAt": known.number_by[1].isoformat()}
        if known.profile:
            document["profile"] = {
                name: {"value": value, "at": at.isoformat()}
                for name, (at, value) in known.profile.items()
            }
        return document

    def _root(self, number: int) -> int:
        parents = self._parents
        while parents[number] != number:
            number = parents[number]
        return number

    def _join(self, root: int, other: int) -> int:
        if root != other:
            self._parents[other] = root
            joined = self._known.pop(other, None)
            if joined is not None:
                known = self._known.get(root)
                if known is None:
                    self._known[root] = joined
                else:
                    known.join(joined)
        return root
