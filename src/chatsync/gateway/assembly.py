"""What a gateway is made of, made once for a process."""

from dataclasses import dataclass

from chatsync.database import PATIENCE_SECONDS, Database
from chatsync.events.doorbell import Doorbell
from chatsync.events.feed import Feed
from chatsync.events.listener import Listener
from chatsync.events.relay import Relay
from chatsync.events.stamper import Stamper
from chatsync.gateway.access import Access
from chatsync.gateway.audience import Audience
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.census import Census
from chatsync.gateway.devices import Devices
from chatsync.gateway.effects import Limits
from chatsync.gateway.hub import Hub
from chatsync.gateway.presence.presence import Presence
from chatsync.gateway.shared import Shared
from chatsync.gateway.stranded import Stranded
from chatsync.gateway.typing import Typing
from chatsync.inbox.reads import Reads
from chatsync.queue.enqueue import Intake
from chatsync.settings import Settings

# So long a query waits for a connection to the replica, and then asks the primary.
REPLICA_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What lives as long as the process: much of it runs, and most of it serves sessions."""

    shared: Shared
    doorbell: Doorbell
    listener: Listener
    stamper: Stamper
    census: Census
    stranded: Stranded
    intake: Intake
    relay: Relay
    reads: Reads

    @property
    def database(self) -> Database:
        return self.shared.database

    @property
    def feed(self) -> Feed:
        return self.shared.feed

    @property
    def hub(self) -> Hub:
        return self.shared.hub

    @property
    def authenticator(self) -> Authenticator:
        return self.shared.authenticator


def assemble(settings: Settings) -> Parts:
    """Make the parts; nothing is connected yet. Raises ConfigError."""
    url = settings.require_database_url()
    database = Database(
        url,
        "chatsync_gateway",
        size=settings.pool_size,
        name="chatsync gateway",
        patience_seconds=PATIENCE_SECONDS,
    )
    doorbell = Doorbell(url, "chatsync_gateway")
    relay = Relay(doorbell)
    shared = _shared(settings, database, doorbell, relay)
    return Parts(
        shared=shared,
        doorbell=doorbell,
        listener=Listener(url, "chatsync_gateway", doorbell),
        stamper=Stamper(
            database,
            doorbell,
            poll_seconds=settings.poll_interval_ms / 1000,
            follower=shared.feed,
        ),
        census=Census(database, shared.hub, shared.feed),
        stranded=Stranded(shared.hub, shared.feed, settings.ping_timeout_ms / 1000),
        intake=Intake(database, doorbell, max_retries=settings.max_retries),
        relay=relay,
        reads=Reads(database, _replica(settings)),
    )


def _replica(settings: Settings) -> Database | None:
    url = settings.read_database_url
    if url is None or not url.get_secret_value():
        return None
    return Database(
        url.get_secret_value(),
        "chatsync_gateway",
        size=settings.pool_size,
        name="chatsync reader",
        patience_seconds=PATIENCE_SECONDS,
        wait_seconds=REPLICA_SECONDS,
    )


def _shared(settings: Settings, database: Database, doorbell: Doorbell, relay: Relay) -> Shared:
    hub, audience = _hub(settings), Audience()
    return Shared(
        database=database,
        access=Access(database),
        feed=Feed(
            database,
            doorbell,
            ring_events=settings.ring_events,
            poll_seconds=settings.poll_interval_ms / 1000,
            on_advance=hub.wake,
        ),
        hub=hub,
        authenticator=Authenticator(settings),
        limits=_limits(settings),
        allowed_origins=frozenset(settings.allowed_origins),
        devices=Devices(
            database,
            doorbell,
            max_events=settings.offline_max_events,
            ttl_days=settings.offline_ttl_days,
        ),
        audience=audience,
        presence=Presence(
            database,
            doorbell,
            relay,
            audience,
            within_seconds=settings.presence_cleanup_interval_ms / 1000,
            grace_seconds=settings.presence_grace_ms / 1000,
        ),
        typing=Typing(doorbell, relay, audience),
    )


def _hub(settings: Settings) -> Hub:
    return Hub(
        max_sessions=settings.max_sessions,
        sessions_per_user=settings.sessions_per_user,
        sessions_per_tenant=settings.sessions_per_tenant,
        sessions_per_address=settings.sessions_per_address,
        unauthenticated=settings.unauthenticated_per_address,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        frame_bytes=settings.frame_bytes,
        topics=settings.topics_per_session,
        frames_per_second=settings.frames_per_second,
        sessions_per_user=settings.sessions_per_user,
        ping_interval_ms=settings.ping_interval_ms,
        ping_timeout_ms=settings.ping_timeout_ms,
        connect_timeout_ms=settings.connect_timeout_ms,
        ack_timeout_ms=settings.ack_timeout_ms,
        reconnect_max_attempts=settings.reconnect_max_attempts,
    )
