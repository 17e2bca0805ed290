"""What tests of presence share: a watching client, and a look at the rows."""

import asyncio
import socket
from typing import Any

from conftest import SyncConnection
from service.harness import Client, token

# Short enough for a test to wait for it.
QUICK: dict[str, Any] = {"presence_grace_ms": 300, "presence_cleanup_interval_ms": 2000}
# Longer than any run of the tests.
WATCHER = token("watcher", role="service", ttl=24 * 3600)


class Watch:
    """What a client knows of who is online, from a full list and the differences after it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.users: dict[str, dict[str, Any]] = {}
        self.told: list[tuple[str, str, int]] = []

    async def next(self) -> None:
        frame = await self.client.next("ephemeral")
        assert frame["topic"] == "presence:t1"
        if frame["event"] == "presence:state":
            self.users = {user["userId"]: user for user in frame["data"]["users"]}
            return
        assert frame["event"] == "presence:update"
        data = frame["data"]
        self.told.append((data["userId"], data["status"], data["sessions"]))
        if data["status"] == "offline":
            self.users.pop(data["userId"], None)
        else:
            self.users[data["userId"]] = data

    async def until(self, **expected: str) -> None:
        """Wait until exactly these are online, each with this status."""
        async with asyncio.timeout(15):
            while {user: each["status"] for user, each in self.users.items()} != expected:
                await self.next()


async def watching(client: Client) -> Watch:
    watch = Watch(client)
    await watch.next()
    return watch


def rows(connection: SyncConnection) -> set[tuple[object, ...]]:
    query = "select user_id, status, sessions from chatsync.presence"
    return set(connection.execute(query).fetchall())


def versions(connection: SyncConnection) -> list[tuple[object, ...]]:
    """Changes with every write of a row, even one that changes nothing."""
    query = "select user_id, node_id, xmin::text::bigint, ctid from chatsync.presence order by 1, 2"
    return connection.execute(query).fetchall()


def leases(connection: SyncConnection) -> list[tuple[object, ...]]:
    return connection.execute("select lease_until from chatsync.gateway_nodes").fetchall()


def is_open(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
