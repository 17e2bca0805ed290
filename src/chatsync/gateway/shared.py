"""What every connection of a process shares."""

from dataclasses import dataclass, field

from chatsync.database import Database
from chatsync.events.feed import Feed
from chatsync.gateway.access import Access
from chatsync.gateway.audience import Audience
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.compression import ServerFrames
from chatsync.gateway.devices import Devices
from chatsync.gateway.effects import Limits
from chatsync.gateway.hub import Hub
from chatsync.gateway.presence.presence import Presence
from chatsync.gateway.typing import Typing


@dataclass(frozen=True, slots=True)
class Shared:
    """Made once; passed to each connection."""

    database: Database
    access: Access
    feed: Feed
    hub: Hub
    authenticator: Authenticator
    limits: Limits
    allowed_origins: frozenset[str]
    devices: Devices
    audience: Audience
    presence: Presence
    typing: Typing
    frames: ServerFrames = field(default_factory=ServerFrames)
