"""Recorded deliveries, kept outside the checkout, and a tenant of its own in which to post them.

CHATSYNC_FIXTURES names their folder; the `_expected.json` beside them lists, per file, the facts
that are in it.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

import contracts
from conftest import SyncConnection
from service.harness import PATIENCE_SECONDS, Client, Gateway, token
from service.payloads import Frame
from service.screen import Screen

Facts = dict[str, Any]

NO_FIXTURES = "CHATSYNC_FIXTURES does not name a folder of recorded deliveries"
FOLDER = Path(os.environ.get("CHATSYNC_FIXTURES", "/nowhere"))
API_KEY = "key-of-the-recorded-instance"
# What proves a delivery that names no instance.
KEY_OF_ALL = "key-of-all-instances"
# The accounts that the recorded deliveries name: numbers, their accounts, and an instance.
NUMBER, SECOND_NUMBER = "100000000000001", "100000000000011"
ACCOUNT, SECOND_ACCOUNT = "200000000000001", "200000000000009"
INSTANCE = "demo-instance"
OWN_NUMBER = "5511900000009"
MARKER = "test:marker"


@dataclass(frozen=True)
class Recorded:
    """One recorded delivery and what is in it."""

    provider: str
    name: str
    raw: bytes
    facts: list[Facts]

    def __str__(self) -> str:
        return f"{self.provider}/{self.name.removesuffix('.json')}"


def recorded(provider: str) -> list[Recorded]:
    """The deliveries of a provider, in the order of their list; none without their folder."""
    listing = FOLDER / provider / "_expected.json"
    if not listing.exists():
        return []
    expected: dict[str, Any] = json.loads(listing.read_bytes())
    return [
        Recorded(provider, name, (FOLDER / provider / name).read_bytes(), said["expect"])
        for name, said in expected.items()
        if "/" not in name
    ]


def kinds(delivery: Recorded) -> set[str]:
    return {facts["kind"] for facts in delivery.facts}


ALL = [*recorded("whatsapp_cloud"), *recorded("evolution")]


@dataclass
class World:
    """A tenant with the inboxes of the recorded accounts, seen by one agent.

    `prefix` makes its accounts its own, so that one gateway serves many worlds.
    """

    gateway: Gateway
    owner: SyncConnection
    tenant: str
    prefix: str
    inboxes: dict[str, str]
    agent: Client
    screen: Screen = field(default_factory=Screen)

    async def post(self, delivery: Recorded) -> None:
        """Post as its provider would; it has to be taken."""
        if delivery.provider == "evolution":
            raw = delivery.raw.replace(INSTANCE.encode(), self.account(INSTANCE).encode())
            await self.post_evolution(raw)
            return
        raw = delivery.raw
        for known in (NUMBER, SECOND_NUMBER, ACCOUNT, SECOND_ACCOUNT):
            raw = raw.replace(f'"{known}"'.encode(), f'"{self.account(known)}"'.encode())
        assert (await self.gateway.post(raw)).status_code == 200

    async def post_evolution(self, raw: bytes) -> None:
        answer = await self.gateway.http.post(
            "/webhooks/evolution", content=raw, headers={"apikey": KEY_OF_ALL}
        )
        assert answer.status_code == 200

    def account(self, name: str) -> str:
        return self.prefix + name

    async def settled(self) -> list[Frame]:
        """The events since the last call, once all that was posted is done; the screen has them."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if not self._has_work():
                    break
                await asyncio.sleep(0.002)
        self.owner.execute(
            "select chatsync.publish(%s, array['tenant:' || %s], %s, '{}')",
            [self.tenant, self.tenant, MARKER],
        )
        events: list[Frame] = []
        while not events or events[-1]["type"] != MARKER:
            events += (await self.agent.next("events"))["events"]
        for event in events[:-1]:
            contracts.check_event(event)
            self.screen.apply(event)
        return events[:-1]

    def _has_work(self) -> bool:
        query = "select exists (select from chatsync.message_queue where tenant_id = %s)"
        return self.owner.execute(query, [self.tenant]).fetchone() == (True,)

    async def snapshot(self) -> Frame:
        answer = await self.gateway.get("/api/sync", jwt=self.token, limit=200)
        assert answer.status_code == 200
        page: Frame = answer.json()
        assert not page["hasMore"]
        return page

    async def read(self, path: str) -> Any:
        answer = await self.gateway.get(path, jwt=self.token)
        assert answer.status_code == 200, path
        return answer.json()

    @property
    def token(self) -> str:
        return token(tenant=self.tenant)

    def dead_letters(self) -> list[str]:
        """Why something of this tenant's, or of nobody's since the last call, could not be done."""
        rows = self.owner.execute(
            "delete from chatsync.failed_messages where tenant_id in (%s, '_unrouted')"
            " returning error_message",
            [self.tenant],
        ).fetchall()
        return [str(row[0]) for row in rows]


@asynccontextmanager
async def world(gateway: Gateway, owner: SyncConnection, number: int) -> AsyncGenerator[World]:
    """A new tenant; `number` has to be another each time."""
    tenant, prefix = f"r{number}", f"{number}x"
    owner.execute("select chatsync.create_tenant(%s)", [tenant])
    inboxes: dict[str, str] = {}
    for name, account in ((NUMBER, ACCOUNT), (SECOND_NUMBER, SECOND_ACCOUNT)):
        inboxes[name] = _inbox(owner, tenant, "whatsapp_cloud", prefix + name, prefix + account)
    inboxes[INSTANCE] = _inbox(owner, tenant, "evolution", prefix + INSTANCE, None)
    async with gateway.session(token(tenant=tenant)) as agent:
        yield World(gateway, owner, tenant, prefix, inboxes, agent)


def _inbox(
    owner: SyncConnection, tenant: str, provider: str, external_id: str, account_id: str | None
) -> str:
    row = owner.execute(
        "select chatsync.create_inbox(%s, %s, %s, p_account_id => %s, p_api_key => %s)",
        [tenant, provider, external_id, account_id, API_KEY],
    ).fetchone()
    assert row is not None
    return str(row[0])


def as_owner(database_url: str) -> SyncConnection:
    connection: SyncConnection = psycopg.connect(database_url, autocommit=True)
    connection.execute("set role chatsync_owner")
    return connection
