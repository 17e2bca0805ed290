"""One cursor for every transport: whoever changes it, or the gateway, misses nothing."""

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from conftest import SyncConnection
from service.harness import Client, Gateway, create_inbox, running_gateway, settings_for, token
from service.payloads import Frame, delivery, said
from service.streams import Stream, publish, stream, until
from service.witness import Witness, judge, read_log, seq

pytestmark = pytest.mark.usefixtures("clean_logs")

TRANSPORTS = ("websocket", "stream", "poll")


@pytest.fixture
async def gateways(database_url: str, inbox_id: int) -> AsyncGenerator[tuple[Gateway, Gateway]]:
    """Two gateways of one database, with small rings, so that both the ring and the log serve."""
    create_inbox(database_url, tenant="t2", number="200")
    settings = settings_for(database_url, ring_events=16)
    async with (
        running_gateway(settings) as one,
        running_gateway(settings, with_worker=False) as two,
    ):
        yield one, two


async def listen(transport: str, gateway: Gateway, witness: Witness, until: int, jwt: str) -> None:
    """Go on from the witness's cursor until it has come so far."""
    if transport == "poll":
        while seq(witness.cursor) < until:
            query: dict[str, Any] = {"cursor": witness.cursor, "topics": "tenant", "wait": 5}
            answer = await gateway.get("/api/events", jwt, **query)
            assert answer.status_code == 200, answer.text
            witness.see(answer.json())
        return
    if transport == "stream":
        async with stream(gateway, jwt, cursor=witness.cursor, topics="tenant") as listener:
            await follow(listener, await listener.next(), witness, until)
        return
    async with gateway.session(jwt, cursor=witness.cursor, topics=["tenant"]) as agent:
        await follow(agent, agent.seen[0], witness, until)


async def follow(source: Stream | Client, connected: Frame, witness: Witness, until: int) -> None:
    assert (connected["recovered"], connected["cursor"]) == (True, witness.cursor)
    while seq(witness.cursor) < until:
        witness.see(await source.next("events"))


async def head(gateway: Gateway, jwt: str) -> str:
    return (await gateway.get("/api/events", jwt)).json()["to"]


async def test_each_transport_goes_on_where_the_last_one_stopped(
    gateways: tuple[Gateway, Gateway], owner: SyncConnection
) -> None:
    one, two = gateways
    witness = Witness("t1", await head(one, token()))
    for number, (transport, gateway) in enumerate(
        (("websocket", one), ("stream", two), ("poll", one), ("websocket", two), ("stream", one))
    ):
        # Some while nobody listens, and some while somebody does.
        await publish(one, *range(number * 40, number * 40 + 30))
        listening = asyncio.create_task(
            listen(transport, gateway, witness, number * 40 + 40, token())
        )
        await publish(two, *range(number * 40 + 30, number * 40 + 40))
        await asyncio.wait_for(listening, 20)

    judge(witness, read_log(owner, "t1"))
    assert [event["data"]["n"] for event in witness.events] == list(range(200))


async def test_a_delta_holds_what_changed_since_the_cursor_of_any_transport(
    gateways: tuple[Gateway, Gateway], owner: SyncConnection
) -> None:
    one, two = gateways
    witness = Witness("t1", await head(one, token()))
    for number, (transport, gateway) in enumerate(
        (("websocket", one), ("stream", two), ("poll", one))
    ):
        before = seq(witness.cursor)
        await one.post(delivery(said(f"heard {number}", f"h{number}")))
        await listen(transport, gateway, witness, before + 2, token())
        await one.post(delivery(said(f"missed {number}", f"m{number}")))
        await until(lambda n=before: len(read_log(owner, "t1")) == n + 4, "the stamp")
        for at in gateways:
            delta = (await at.get("/api/sync", cursor=witness.cursor, after=witness.cursor)).json()
            assert [message["content"] for message in delta["messages"]] == [f"missed {number}"]
            assert seq(delta["cursor"]) >= before + 4
        await listen(transport, gateway, witness, before + 4, token())
    judge(witness, read_log(owner, "t1"))
    assert two


async def test_many_that_change_gateway_and_transport_under_load_see_the_log(
    gateways: tuple[Gateway, Gateway], owner: SyncConnection
) -> None:
    chance = random.Random(20261121)
    count = 150
    subscribers: list[tuple[Witness, str]] = []
    for number in range(8):
        tenant = ("t1", "t2")[number % 2]
        jwt = token(f"u{number}", tenant=tenant)
        subscribers.append((Witness(tenant, await head(gateways[0], jwt)), jwt))

    async def wander(witness: Witness, jwt: str) -> None:
        while seq(witness.cursor) < count:
            step = min(count, seq(witness.cursor) + chance.randint(1, 30))
            await listen(chance.choice(TRANSPORTS), chance.choice(gateways), witness, step, jwt)

    async def write(tenant: str) -> None:
        for number in range(count):
            await publish(chance.choice(gateways), number, tenant=tenant)

    wandering = [wander(witness, jwt) for witness, jwt in subscribers]
    async with asyncio.timeout(60):
        await asyncio.gather(write("t1"), write("t2"), *wandering)

    logs = {tenant: read_log(owner, tenant) for tenant in ("t1", "t2")}
    assert [len(log) for log in logs.values()] == [count, count]
    for witness, _ in subscribers:
        judge(witness, logs[witness.tenant])
        assert len(witness.events) == count


async def test_beyond_retention_every_transport_says_reset_and_serves_nothing(
    gateways: tuple[Gateway, Gateway], owner: SyncConnection
) -> None:
    cursor = await head(gateways[0], token())
    await publish(gateways[0], *range(40))
    owner.execute("update chatsync.streams set trimmed_to = 20 where tenant_id = 't1'")
    kept = cursor.rpartition(".")[0] + ".20"

    for gateway in gateways:
        answer = await gateway.get("/api/events", cursor=cursor)
        assert (answer.status_code, answer.json()["reason"]) == (410, "trimmed")
        assert (await gateway.get("/api/sync", cursor=cursor)).status_code == 410
        async with (
            gateway.session(cursor=cursor) as agent,
            stream(gateway, cursor=cursor) as listener,
        ):
            for connected in (agent.seen[0], await listener.next()):
                assert (connected["recovered"], connected["reason"]) == (False, "trimmed")
                assert seq(connected["cursor"]) == 40
        for transport in TRANSPORTS:
            witness = Witness("t1", kept)
            await listen(transport, gateway, witness, 40, token())
            judge(witness, read_log(owner, "t1"))


def history() -> tuple[Witness, list[Frame]]:
    log: list[Frame] = [
        {"seq": number, "type": "x", "topics": ["tenant:t1"], "data": {}} for number in range(1, 5)
    ]
    witness = Witness("t1", "e.0")
    witness.see({"from": "e.0", "to": "e.4", "events": [dict(event) for event in log]})
    return witness, log


def test_the_judge_lets_a_good_history_pass() -> None:
    judge(*history())


@pytest.mark.parametrize("fault", ["lost", "twice", "swapped", "other data", "foreign"])
def test_the_judge_refuses_a_bad_history(fault: str) -> None:
    witness, log = history()
    events = witness.events
    if fault == "lost":
        del events[1]
    elif fault == "twice":
        events.insert(1, events[1])
    elif fault == "swapped":
        events[1], events[2] = events[2], events[1]
    elif fault == "other data":
        events[2]["data"] = {"other": True}
    elif fault == "foreign":
        events[2]["topics"] = log[2]["topics"] = ["tenant:t2"]
    with pytest.raises(AssertionError):
        judge(witness, log)


@pytest.mark.parametrize("start", ["e.3", "e.5"])
def test_a_witness_notices_a_gap_and_an_overlap_between_answers(start: str) -> None:
    witness, _ = history()
    with pytest.raises(AssertionError):
        witness.see({"from": start, "to": "e.6", "events": []})
