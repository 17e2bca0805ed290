"""Items as the SQL function apply_inbound() takes them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from chatsync.inbox.people import People
from chatsync.providers.inbound import (
    Call,
    Connection,
    Contact,
    ContactChange,
    Edit,
    Ignored,
    Item,
    Malformed,
    Message,
    Notice,
    Reaction,
    ReadByBusiness,
    Revoke,
    Status,
)

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class InboundItem:
    """A parsed item and the inbox whose delivery brought it."""

    tenant_id: str
    inbox_id: int
    correlation_id: str
    item: Item


@dataclass(frozen=True, slots=True)
class Folded:
    """The arguments of apply_inbound()."""

    contacts: list[Document]
    items: list[Document]


def fold(items: Sequence[InboundItem]) -> Folded:
    """Describe items in order, and the contacts that they are about by key."""
    people = People()
    documents: list[Document] = []
    numbers: list[tuple[Document, str, int]] = []
    for entry in items:
        document: Document = {
            "position": len(documents),
            "tenant_id": entry.tenant_id,
            "inbox_id": entry.inbox_id,
            "correlation_id": entry.correlation_id,
        }
        _describe(entry.item, document)
        documents.append(document)
        for name, number in _meet(people, entry):
            numbers.append((document, name, number))
        if isinstance(entry.item, Status) and entry.item.status == "PLAYED":
            documents.append(
                document | {"position": len(documents), "kind": "played", "status": None}
            )
    # Only now is it known who is the same person.
    for document, name, number in numbers:
        document[name] = people.key(number)
    return Folded(people.documents(), documents)


def _meet(people: People, entry: InboundItem) -> list[tuple[str, int]]:
    match entry.item:
        case Message(contact=contact, group=group, direction=direction, occurred_at=at):
            met: list[tuple[str, int]] = []
            if contact is not None:
                is_own = direction == "INBOUND"
                met.append(
                    ("contact_key", people.add(entry.tenant_id, contact, is_own=is_own, at=at))
                )
            if group is not None:
                met.append(("thread_key", people.add(entry.tenant_id, group, is_own=True, at=at)))
            return met
        case Call(contact=contact, direction=direction, occurred_at=at):
            is_own = direction == "INBOUND"
            return [("contact_key", people.add(entry.tenant_id, contact, is_own=is_own, at=at))]
        case ContactChange(contact=contact, is_own=is_own, occurred_at=at, preferences=preferences):
            number = people.add(
                entry.tenant_id, contact, is_own=is_own, at=at, preferences=preferences
            )
            return [("contact_key", number)]
        case _:
            return []


def _describe(item: Item, document: Document) -> None:
    match item:
        case Message():
            _describe_message(item, document)
        case Status():
            document |= {
                "kind": "status",
                "provider_message_id": item.provider_message_id,
                "occurred_at": item.occurred_at.isoformat(),
                "status": "READ" if item.status == "PLAYED" else item.status,
                "error": item.error,
            }
        case Call():
            document |= {
                "kind": "call",
                "provider_message_id": item.call_id,
                "occurred_at": item.occurred_at.isoformat(),
                "direction": item.direction,
                "type": "SYSTEM",
                "origin": "live",
                "metadata": {"call": item.details | {"step": item.step}},
            }
        case Reaction() | Edit() | Revoke():
            _describe_amendment(item, document)
        case ReadByBusiness():
            document |= {
                "kind": "read",
                "provider_message_id": item.provider_message_id,
                "occurred_at": item.occurred_at.isoformat(),
            }
        case ContactChange():
            document |= {"kind": "contact", "occurred_at": item.occurred_at.isoformat()}
        case Connection():
            data = {"state": item.state, "reason": item.reason, "qrcode": item.qrcode}
            document |= {"kind": "connection", "data": data}
        case Notice():
            document |= {
                "kind": "notice",
                "item_id": item.item_id,
                "occurred_at": item.occurred_at.isoformat(),
                "type": item.kind,
                "content": item.title,
                "data": item.data,
            }
        case Ignored() | Malformed():
            document["kind"] = "nothing"


def _describe_message(message: Message, document: Document) -> None:
    document |= {
        "kind": "message",
        "provider_message_id": message.provider_message_id,
        "occurred_at": message.occurred_at.isoformat(),
        "direction": message.direction,
        "type": message.type,
        "content": message.content,
        "metadata": message.metadata,
        "origin": message.origin,
    }
    if message.reply_to is not None:
        document["reply_to"] = message.reply_to
    # What a contact sent has no way to go: only ours climb.
    if message.status is not None and message.direction == "OUTBOUND":
        document["status"] = message.status
    if message.is_placeholder:
        document["is_placeholder"] = True


def _describe_amendment(item: Reaction | Edit | Revoke, document: Document) -> None:
    document |= {
        "item_id": item.item_id,
        "provider_message_id": item.target_id,
        "occurred_at": item.occurred_at.isoformat(),
    }
    match item:
        case Reaction():
            document |= {"kind": "reaction", "data": {"by": _reactor(item), "emoji": item.emoji}}
        case Edit():
            document |= {"kind": "edit", "content": item.content, "metadata": item.metadata}
        case Revoke():
            document["kind"] = "revoke"


def _reactor(reaction: Reaction) -> str:
    """Who may have one reaction on a message: outside groups the contact, whatever its names."""
    if reaction.direction == "OUTBOUND":
        return "business"
    if not reaction.in_group or reaction.contact is None:
        return "contact"
    return _number_or_first(reaction.contact)


def _number_or_first(contact: Contact) -> str:
    return contact.phone_number or contact.identities[0].value
