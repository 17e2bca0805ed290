"""Queries read a replica that has come far enough, and the primary otherwise."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.gateway.http.request import encode_token
from chatsync.inbox import reads
from service.harness import Gateway, create_inbox, running_gateway, settings_for, token
from service.payloads import delivery, said
from service.standby import Standby, following


@pytest.fixture
def standby(
    server: EmbeddedPostgres, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Standby]:
    with following(server, tmp_path, tmp_path_factory.mktemp("standby")) as running:
        yield running


@pytest.fixture
async def gateway(
    server: EmbeddedPostgres, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Gateway]:
    monkeypatch.setattr(reads, "SHUN_SECONDS", 0.05)
    async with running_gateway(settings_for(server.url, read_database_url=standby.url)) as running:
        yield running


async def write(gateway: Gateway, text: str) -> str:
    """Have a customer write; the cursor after it."""
    async with gateway.session() as agent:
        await gateway.post(delivery(said(text, f"w-{text}", "1555"), customer="1555", name="C"))
        while True:
            frame = await agent.next("events")
            if any(event["type"] == "message:new" for event in frame["events"]):
                return frame["to"]


async def asked(gateway: Gateway, path: str, **query: Any) -> tuple[str, Any]:
    """The answer, and who gave it."""
    before = {source: count(source) for source in ("primary", "replica")}
    answer = await gateway.get(path, **query)
    (source,) = [source for source, seen in before.items() if count(source) > seen]
    return source, answer.json()


def count(source: str) -> float:
    return REGISTRY.get_sample_value("chatsync_reads_total", {"source": source}) or 0.0


def contents(page: Any) -> list[str]:
    return [message["content"] for message in page["messages"]]


async def test_a_replica_that_has_reached_the_cursor_answers(
    gateway: Gateway, standby: Standby
) -> None:
    cursor = await write(gateway, "one")
    standby.catch_up()
    for path in ("/api/conversations", "/api/sync"):
        source, page = await asked(gateway, path, after=cursor)
        primarily, same = await asked(gateway, path)

        assert (source, primarily) == ("replica", "primary")
        assert {**page, "syncTimestamp": 0} == {**same, "syncTimestamp": 0}
    name = page["conversations"][0]["id"]
    source, page = await asked(gateway, f"/api/conversations/{name}/messages", after=cursor)
    assert (source, [item["content"] for item in page["items"]]) == ("replica", ["one"])


async def test_a_replica_that_lags_behind_the_cursor_is_not_asked(
    gateway: Gateway, standby: Standby
) -> None:
    first = await write(gateway, "one")
    standby.catch_up()
    standby.pause()
    second = await write(gateway, "two")

    assert await asked(gateway, "/api/sync", after=first) == ("replica", Contains(["one"]))
    assert await asked(gateway, "/api/sync", after=second) == ("primary", Contains(["one", "two"]))
    assert await asked(gateway, "/api/sync", cursor=first, after=second) == (
        "primary",
        Contains(["two"]),
    )


async def test_the_time_of_a_late_replica_loses_nothing(gateway: Gateway, standby: Standby) -> None:
    first = await write(gateway, "one")
    standby.catch_up()
    standby.pause()
    await write(gateway, "two")
    source, page = await asked(gateway, "/api/sync", after=first)

    _, missed = await asked(gateway, "/api/sync", since=page["syncTimestamp"])

    assert source == "replica"
    assert "two" in contents(missed)


async def test_pages_of_a_sync_follow_its_first_one(gateway: Gateway, standby: Standby) -> None:
    await write(gateway, "one")
    await gateway.post(delivery(said("b", "w-b", "1666"), customer="1666", name="D"))
    standby.catch_up()
    standby.pause()
    cursor = await write(gateway, "two")
    # The first page is the primary's, since the replica is behind, and so is the second.
    source, page = await asked(gateway, "/api/sync", limit=1, after=cursor)
    assert (source, page["hasMore"]) == ("primary", True)
    assert (await asked(gateway, "/api/sync", limit=1, page=page["page"]))[0] == "primary"

    standby.catch_up()
    assert (await asked(gateway, "/api/sync", limit=1, page=page["page"]))[0] == "replica"


async def test_the_primary_alone_judges_a_cursor(gateway: Gateway, standby: Standby) -> None:
    cursor = await write(gateway, "one")
    standby.catch_up()
    epoch, seq = cursor.split(".")

    ahead = await gateway.get("/api/sync", after=f"{epoch}.{int(seq) + 9}")
    foreign = await gateway.get("/api/sync", cursor=f"{'0' * 32}.1", after=cursor)

    assert (ahead.status_code, ahead.json()["reason"]) == (410, "ahead")
    assert (foreign.status_code, foreign.json()["reason"]) == (410, "epoch")


async def test_what_a_replica_does_not_know_is_asked_of_the_primary(
    gateway: Gateway, standby: Standby, server: EmbeddedPostgres
) -> None:
    cursor = await write(gateway, "one")
    standby.catch_up()
    create_inbox(server.url, tenant="t2", number="200")

    answer = await gateway.get("/api/conversations/1/messages", token(tenant="t2"), after=cursor)
    unknown = await gateway.get("/api/conversations/999/messages", after=cursor)

    assert answer.status_code == 410  # another tenant's cursor
    assert unknown.status_code == 404
    # Nor does a question that nobody can answer keep others from it.
    wrong = encode_token(["no time at all", 1])
    refused = await gateway.get("/api/conversations", before=wrong, after=cursor)
    assert refused.status_code == 422
    assert (await asked(gateway, "/api/sync", after=cursor))[0] == "replica"


async def test_while_the_replica_is_away_the_primary_answers(
    gateway: Gateway, standby: Standby
) -> None:
    cursor = await write(gateway, "one")
    standby.catch_up()
    standby.server.stop()
    for _ in range(3):
        assert await asked(gateway, "/api/sync", after=cursor) == ("primary", Contains(["one"]))

    standby.server.start()
    while (await asked(gateway, "/api/sync", after=cursor))[0] == "primary":
        pass


async def test_a_gateway_starts_without_its_replica(server: EmbeddedPostgres) -> None:
    away = "postgresql://nobody@127.0.0.1:1/nothing"
    async with running_gateway(settings_for(server.url, read_database_url=away)) as gateway:
        cursor = await write(gateway, "one")

        assert await asked(gateway, "/api/sync", after=cursor) == ("primary", Contains(["one"]))


class Contains:
    """Equal to a page that has these messages."""

    def __init__(self, messages: list[str]) -> None:
        self._messages = messages

    def __eq__(self, page: object) -> bool:
        return contents(page) == self._messages

    def __repr__(self) -> str:
        return f"Contains({self._messages})"
