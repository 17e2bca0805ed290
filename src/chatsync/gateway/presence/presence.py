"""Presence of this process among the others: says what changed, hears what others say.

One task tells local watchers and never asks the database; the other keeps the lease, writes what
changed and reads what others wrote, at most every PACE_SECONDS. Rows are the truth between
gateways and hints only say whose to read, so that a lost or forged one changes nobody's presence.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence

import structlog

from chatsync.database import Database
from chatsync.errors import DatabaseUnavailable
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint
from chatsync.events.relay import Relay
from chatsync.gateway.audience import Audience
from chatsync.gateway.presence.roster import Roster
from chatsync.gateway.presence.standing import Standing, User, plain_name
from chatsync.gateway.presence.view import Told, View
from chatsync.model import Claims
from chatsync.telemetry import metrics

# The first change is told and written at once, what follows it soon together.
TELL_SECONDS = 0.1
PACE_SECONDS = 0.25
RETRY_SECONDS = 1.0
MAX_ROWS = 1000
# Parts of the time within which a dead gateway's users must be offline: two beats may be late.
BEAT, LEASE = 0.2, 0.5

log = structlog.stdlib.get_logger(__name__)


class Presence:
    """`run` `tell` and `keep` as tasks. `within_seconds`: see settings.presence_cleanup."""

    def __init__(
        self,
        database: Database,
        doorbell: Doorbell,
        relay: Relay,
        audience: Audience,
        *,
        within_seconds: float,
        grace_seconds: float,
    ) -> None:
        self.node_id = uuid.uuid4().hex
        self._database = database
        self._relay = relay
        self._audience = audience
        self._within = within_seconds
        self._grace = grace_seconds
        self._roster = Roster(grace_seconds)
        self._views: dict[str, View] = {}
        self._changed: set[User] = set()
        self._is_changed = asyncio.Event()
        # Of whom something may have to be written, and what is written.
        self._unsaid: set[User] = set()
        self._said: dict[User, Standing] = {}
        self._stale: set[str] = set()
        self._has_work = asyncio.Event()
        self._beat_at = self._look_at = self._kept_until = 0.0
        self._is_registered = False
        doorbell.subscribe(self._hear)

    def enter(self, session_id: str, claims: Claims) -> None:
        """Count a session. Programs are nobody's colleague: the role `service` is not online."""
        if claims.role != "service":
            user = (claims.tenant_id, claims.user_id)
            self._roster.enter(session_id, user, plain_name(claims.name))
            self._note(user)

    def leave(self, session_id: str) -> None:
        self._note(self._roster.leave(session_id, time.monotonic()))

    def set_status(self, session_id: str, status: str) -> None:
        self._note(self._roster.set_status(session_id, status))

    def watch(self, tenant_id: str) -> View:
        """The view of a tenant, kept up to date until `unwatch`; it is loaded within a moment."""
        view = self._views.get(tenant_id)
        if view is None:
            view = self._views[tenant_id] = self._new_view(tenant_id)
            self._reread([tenant_id])
        view.watchers += 1
        return view

    def unwatch(self, view: View) -> None:
        view.watchers -= 1
        if view.watchers == 0:
            self._views.pop(view.tenant_id, None)

    async def users(self, tenant_id: str) -> list[Mapping[str, object]]:
        """Who is online in a tenant. Raises DatabaseUnavailable."""
        view = self._views.get(tenant_id)
        if view is None or not view.is_loaded:
            view = self._new_view(tenant_id)
            view.load((await self._read([tenant_id]))[tenant_id], time.time(), keeps_missing=False)
        return view.users()

    async def tell(self) -> None:
        """Tell local watchers of local changes."""
        while True:
            due_at = self._roster.due_at
            delay = None if due_at is None else max(0.0, due_at - time.monotonic())
            await _wait(self._is_changed, delay)
            changed, self._changed = self._changed, set()
            changed |= self._roster.tick(time.monotonic())
            self._tell_own(changed)
            self._unsaid |= changed
            self._has_work.set()
            await asyncio.sleep(TELL_SECONDS)

    async def keep(self) -> None:
        """Keep the lease, write and read; at the end leave the users a while to come back."""
        try:
            while True:
                next_at = min(self._beat_at, self._look_at)
                await _wait(self._has_work, max(0.0, next_at - time.monotonic()))
                try:
                    await self._work()
                except DatabaseUnavailable:
                    self._has_work.set()
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    await asyncio.sleep(PACE_SECONDS)
        finally:
            with contextlib.suppress(DatabaseUnavailable):
                await self._database.fetch_value(
                    "select chatsync.leave_node(%s, %s)", [self.node_id, self._grace]
                )

    async def _work(self) -> None:
        if time.monotonic() >= self._beat_at:
            await self._beat()
        while self._unsaid and await self._say():
            pass
        if time.monotonic() >= self._look_at:
            # What a lost hint costs at most.
            self._look_at = time.monotonic() + self._within
            self._stale |= self._views.keys()
        stale, self._stale = self._stale & self._views.keys(), set()
        try:
            await self._refresh(sorted(stale))
        except BaseException:
            self._stale |= stale
            raise

    async def _beat(self) -> None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "select is_new, tenant_ids from chatsync.beat_node(%s, %s)",
                [self.node_id, self._within * LEASE],
            )
            row = await cursor.fetchone()
        assert row is not None
        is_new, bereft = row
        now = time.monotonic()
        self._beat_at = now + self._within * BEAT
        if is_new:
            self._said.clear()
            self._unsaid |= set(self._roster.users())
            if self._is_registered:
                # Emptied by a crash: the other gateways have until their next beat to come back.
                self._kept_until = self._look_at = now + self._within * BEAT * 2
                log.info("presence_written_again", users=len(self._unsaid))
            self._is_registered = True
            self._reread(self._views)
        if bereft:
            self._reread(bereft)
            self._relay.tell_presence(bereft)

    async def _say(self) -> bool:
        """Write some of what changed; false when everything is to be said again, after a beat."""
        batch = [self._unsaid.pop() for _ in range(min(MAX_ROWS, len(self._unsaid)))]
        said = {user: self._roster.standing(user) for user in batch}
        rows = [(user, now) for user, now in said.items() if now != self._said.get(user)]
        try:
            is_written = not rows or await self._write(rows)
        except BaseException:
            self._unsaid.update(batch)
            raise
        if not is_written:
            self._unsaid.update(batch)
            self._beat_at = 0.0
            self._has_work.set()
            return False
        for user, standing in rows:
            if standing is None:
                self._said.pop(user, None)
            else:
                self._said[user] = standing
        if rows:
            self._relay.tell_presence({user[0] for user, _ in rows})
        return True

    async def _write(self, rows: Sequence[tuple[User, Standing | None]]) -> bool:
        metrics.PRESENCE_WRITES.inc()
        return await self._database.fetch_value(
            "select chatsync.say_presence(%s, %s, %s, %s, %s, %s)",
            [
                self.node_id,
                [user[0] for user, _ in rows],
                [user[1] for user, _ in rows],
                [None if said is None else said.status for _, said in rows],
                [None if said is None else said.sessions for _, said in rows],
                [None if said is None else said.name for _, said in rows],
            ],
        )

    async def _refresh(self, tenant_ids: Sequence[str]) -> None:
        if not tenant_ids:
            return
        told = await self._read(tenant_ids)
        keeps_missing = time.monotonic() < self._kept_until
        for tenant_id, rows in told.items():
            view = self._views.get(tenant_id)
            if view is not None:
                changed = view.load(rows, time.time(), keeps_missing=keeps_missing)
                self._mark(view, changed)

    async def _read(self, tenant_ids: Sequence[str]) -> dict[str, list[Told]]:
        told: dict[str, list[Told]] = {tenant_id: [] for tenant_id in tenant_ids}
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "select * from chatsync.told_presence(%s)", [list(tenant_ids)]
            )
            for (
                tenant_id,
                user_id,
                node_id,
                status,
                sessions,
                name,
                seen_at,
            ) in await cursor.fetchall():
                if node_id != self.node_id:
                    standing = Standing(status, sessions, name)
                    row = Told(user_id, node_id, standing, seen_at.timestamp())
                    told[tenant_id].append(row)
        return told

    def _hear(self, hint: Hint) -> None:
        if hint.was_deaf:
            # PostgreSQL may have been away, and taken the lease with it.
            self._beat_at = 0.0
            self._reread(self._views)
            self._has_work.set()
        elif not hint.presence.isdisjoint(self._views.keys()):
            self._reread(hint.presence)

    def _reread(self, tenant_ids: Iterable[str]) -> None:
        self._stale.update(tenant_ids)
        self._has_work.set()

    def _note(self, user: User | None) -> None:
        if user is not None:
            self._changed.add(user)
            self._is_changed.set()

    def _new_view(self, tenant_id: str) -> View:
        view = View(tenant_id)
        for user in self._roster.users():
            if user[0] == tenant_id:
                view.set_own(user[1], self._roster.standing(user), time.time())
        return view

    def _tell_own(self, changed: Iterable[User]) -> None:
        by_view: dict[str, set[str]] = {}
        for tenant_id, user_id in changed:
            view = self._views.get(tenant_id)
            standing = self._roster.standing((tenant_id, user_id))
            if view is not None and view.set_own(user_id, standing, time.time()):
                by_view.setdefault(tenant_id, set()).add(user_id)
        for tenant_id, user_ids in by_view.items():
            self._mark(self._views[tenant_id], user_ids)

    def _mark(self, view: View, user_ids: set[str]) -> None:
        for listener in self._audience.of(view.tenant_id, view.topic):
            listener.mark(user_ids)


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()
