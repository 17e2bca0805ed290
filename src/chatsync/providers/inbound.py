"""What a provider's parser returns: the items of one delivery, provider-neutral.

An item that cannot be understood is a Malformed, never an exception: one bad item must not take
the others of its delivery with it. `occurred_at` is the provider's clock, or the time of receipt
where the provider gives none.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from chatsync.providers.body import JsonObject

Direction: TypeAlias = Literal["INBOUND", "OUTBOUND"]
Origin: TypeAlias = Literal["live", "echo", "history", "api"]
MessageType: TypeAlias = Literal[
    "TEXT",
    "IMAGE",
    "VIDEO",
    "AUDIO",
    "DOCUMENT",
    "STICKER",
    "LOCATION",
    "CONTACTS",
    "INTERACTIVE",
    "ORDER",
    "TEMPLATE",
    "SYSTEM",
    "UNSUPPORTED",
]
MessageStatus: TypeAlias = Literal["PENDING", "SENT", "DELIVERED", "READ", "FAILED"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a delivery came from: what a parser knows beside the body.

    `account_id` is the account that the inbox belongs to, where one is known.
    """

    inbox_id: int
    account_id: str | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """A name under which a provider knows a contact; `scope` says where the name holds:
    `tenant`, `portfolio:{account}` or `inbox:{inbox id}`."""

    scope: str
    kind: Literal["phone", "bsuid", "parent_bsuid", "lid", "group", "external"]
    value: str


@dataclass(frozen=True, slots=True)
class Contact:
    """A person or a group. `profile` holds what else is known: username, avatarUrl."""

    identities: tuple[Identity, ...]
    name: str | None = None
    phone_number: str | None = None
    # A changed number replaces the known one; any other only fills a gap.
    is_new_number: bool = False
    profile: JsonObject = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was said, or a notice that belongs into the thread (type SYSTEM).

    `contact` is the other party: the sender of an inbound message, the recipient of an outbound
    one. In a group `contact` is the author (None for our own) and `group` the thread.
    """

    provider_message_id: str
    contact: Contact | None
    direction: Direction
    type: MessageType
    content: str | None
    occurred_at: datetime
    origin: Origin
    metadata: JsonObject = field(default_factory=dict[str, Any])
    reply_to: str | None = None
    group: Contact | None = None
    status: MessageStatus | None = None
    # Stands in for a message whose content comes later under the same id.
    is_placeholder: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A step in the life of a call: one entry in the thread, whatever the number of steps.

    `step` only climbs, as a message's status does.
    """

    call_id: str
    contact: Contact
    direction: Direction
    step: Literal["offered", "ringing", "accepted", "ended"]
    occurred_at: datetime
    details: JsonObject = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Reaction:
    """An emoji on a message; None takes it back. `contact` is who reacted, None for us."""

    item_id: str
    target_id: str
    contact: Contact | None
    direction: Direction
    emoji: str | None
    occurred_at: datetime
    # Where more than one contact may react.
    in_group: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """New content of a message. `metadata` replaces the keys that it names."""

    item_id: str
    target_id: str
    content: str | None
    occurred_at: datetime
    metadata: JsonObject = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Revoke:
    """A message was deleted for everyone."""

    item_id: str
    target_id: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """How far a message of ours has come. PLAYED is READ, and remembered as played."""

    provider_message_id: str
    status: Literal["PENDING", "SENT", "DELIVERED", "READ", "PLAYED", "FAILED"]
    occurred_at: datetime
    error: JsonObject | None = None
    # What the provider adds, such as its price.
    details: JsonObject = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class ReadByBusiness:
    """The business read a contact's message, and all before it, on its phone."""

    provider_message_id: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class ContactChange:
    """What is new about a contact, without a message.

    `is_own` says that the name is the contact's own and not the business's address book.
    `preferences` are by category, such as {"marketing_messages": "stop"}.
    """

    contact: Contact
    occurred_at: datetime
    is_own: bool = True
    preferences: JsonObject = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Connection:
    """The inbox's own connection to WhatsApp changed. `qrcode` is {code, base64, pairingCode}."""

    state: Literal["open", "connecting", "close", "refused"] | None
    reason: int | None = None
    phone_number: str | None = None
    qrcode: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the operator of the inbox should know: an error or news of the account."""

    item_id: str
    kind: Literal["channel_error", "history_error", "account"]
    title: str
    occurred_at: datetime
    data: JsonObject = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Ignored:
    """An item that is understood and means nothing to us, such as a story or a presence."""

    reason: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """An item that nobody can process: it becomes a dead letter with its reason."""

    reason: str
    item: object


Item: TypeAlias = (
    Message
    | Call
    | Reaction
    | Edit
    | Revoke
    | Status
    | ReadByBusiness
    | ContactChange
    | Connection
    | Notice
    | Ignored
    | Malformed
)
