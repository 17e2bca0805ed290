"""The write side: what providers sent becomes rows and events, in the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb

from chatsync.database import Connection, is_transient
from chatsync.providers.inbound import Contact, Identity, Item, Malformed, Message, Status

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InboundItem:
    """A parsed item and the inbox whose delivery brought it."""

    tenant_id: str
    inbox_id: int
    correlation_id: str
    item: Item


async def apply_inbound(connection: Connection, items: Sequence[InboundItem]) -> None:
    """Apply items in order; one that cannot be applied is dead-lettered alone.

    Raises psycopg.Error only for what a later try may not meet.
    """
    for entry in items:
        if isinstance(entry.item, Malformed):
            await _reject(connection, entry, entry.item.reason)
    await _apply(connection, [entry for entry in items if not isinstance(entry.item, Malformed)])


async def _apply(connection: Connection, items: Sequence[InboundItem]) -> None:
    """Apply all at once, or in halves where that fails: a bad item costs log2(n) tries."""
    if not items:
        return
    folded = _fold(items)
    try:
        async with connection.transaction():
            await connection.execute(
                "select chatsync.apply_inbound(%s, %s)",
                [Jsonb(folded.contacts), Jsonb(folded.items)],
            )
    except psycopg.Error as error:
        if is_transient(error):
            raise
        if len(items) == 1:
            await _reject(
                connection, items[0], f"{type(error).__name__}: {error.diag.message_primary}"
            )
            return
        middle = len(items) // 2
        await _apply(connection, items[:middle])
        await _apply(connection, items[middle:])


async def _reject(connection: Connection, entry: InboundItem, reason: str) -> None:
    log.warning("item_rejected", inbox_id=entry.inbox_id, correlation_id=entry.correlation_id)
    raw = entry.item.item if isinstance(entry.item, Malformed) else _document(entry, 0, None)
    summary = Jsonb(raw)
    await connection.execute(
        "select chatsync.reject_delivery("
        "%s, %s, %s, 'item', convert_to(%s::jsonb::text, 'UTF8'), %s, %s)",
        [entry.tenant_id, entry.inbox_id, entry.correlation_id, summary, summary, reason],
    )


@dataclass(frozen=True, slots=True)
class _Folded:
    """The arguments of the SQL function apply_inbound()."""

    contacts: list[dict[str, Any]]
    items: list[dict[str, Any]]


def _fold(items: Sequence[InboundItem]) -> _Folded:
    """Give items of one person one contact key: no identity stands under two keys."""
    people = _People()
    for entry in items:
        if isinstance(entry.item, Message):
            people.add(
                entry.tenant_id, entry.item.contact, is_speaking=entry.item.direction == "INBOUND"
            )
    documents = [
        _document(entry, position, people.key(entry.tenant_id, entry.item.contact.identities[0]))
        if isinstance(entry.item, Message)
        else _document(entry, position, None)
        for position, entry in enumerate(items)
    ]
    return _Folded(people.contacts(), documents)


@dataclass(frozen=True, slots=True)
class _Name:
    """What a contact is called, and whether the contact said so."""

    text: str
    is_own: bool


class _People:
    """Contacts joined by the identities they share (union-find over identities)."""

    def __init__(self) -> None:
        self._parents: dict[tuple[str, Identity], tuple[str, Identity]] = {}
        self._names: dict[tuple[str, Identity], _Name] = {}
        self._keys: dict[tuple[str, Identity], int] = {}

    def add(self, tenant_id: str, contact: Contact, *, is_speaking: bool) -> None:
        first = (tenant_id, contact.identities[0])
        for identity in contact.identities:
            root, other = self._root((tenant_id, identity)), self._root(first)
            if root != other:
                self._parents[root] = other
                if root in self._names:
                    self._name(other, self._names.pop(root), is_newer=False)
        if contact.name is not None:
            self._name(self._root(first), _Name(contact.name, is_speaking), is_newer=True)

    def _name(self, root: tuple[str, Identity], name: "_Name", *, is_newer: bool) -> None:
        """Keep the better name: a contact's own before the business's, then the newer one."""
        known = self._names.get(root)
        if known is None or (name.is_own, is_newer) > (known.is_own, not is_newer):
            self._names[root] = name

    def key(self, tenant_id: str, identity: Identity) -> int:
        return self._keys.setdefault(self._root((tenant_id, identity)), len(self._keys))

    def contacts(self) -> list[dict[str, Any]]:
        members: dict[tuple[str, Identity], list[Identity]] = {}
        for node in self._parents:
            members.setdefault(self._root(node), []).append(node[1])
        return [
            {
                "key": self.key(*root),
                "tenantId": root[0],
                "name": name.text if (name := self._names.get(root)) else None,
                # What the business sent may name a contact, but not rename one.
                "isRenamed": name is not None and name.is_own,
                "phoneNumber": next((i.value for i in identities if i.kind == "phone"), None),
                "identities": [
                    {"scope": i.scope, "kind": i.kind, "value": i.value} for i in identities
                ],
            }
            for root, identities in members.items()
        ]

    def _root(self, node: tuple[str, Identity]) -> tuple[str, Identity]:
        parent = self._parents.setdefault(node, node)
        while parent != node:
            node, parent = parent, self._parents[parent]
        return node


def _document(entry: InboundItem, position: int, contact_key: int | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "position": position,
        "tenant_id": entry.tenant_id,
        "inbox_id": entry.inbox_id,
        "correlation_id": entry.correlation_id,
        "contact_key": contact_key,
    }
    match entry.item:
        case Message() as message:
            document |= {
                "kind": "message",
                "provider_message_id": message.provider_message_id,
                "occurred_at": message.occurred_at.isoformat(),
                "direction": message.direction,
                "type": message.type,
                "content": message.content,
                "metadata": message.metadata,
                "origin": message.origin,
                "reply_to": message.reply_to,
            }
        case Status() as status:
            document |= {
                "kind": "status",
                "provider_message_id": status.provider_message_id,
                "occurred_at": status.occurred_at.isoformat(),
                "status": status.status,
                "error": status.error,
            }
        case Malformed():
            document |= {"kind": "malformed"}
    return document
