"""Many resume at once: what they missed is read for all of them, and never stale."""

import asyncio

from chatsync.telemetry import metrics
from conftest import SyncConnection
from service.following import say, until
from service.harness import Gateway, running_gateway, settings_for, token
from service.payloads import Frame

MISSED = 150


def reads(reason: str) -> int:
    return int(metrics.FEED_READS.labels(reason)._value.get())


def publish(owner: SyncConnection, count: int, tenant: str = "t1") -> None:
    owner.execute(
        "select chatsync.publish(%s, array['tenant:' || %s], 'test', jsonb_build_object('n', n))"
        " from generate_series(1, %s) n",
        [tenant, tenant, count],
    )
    owner.execute("select chatsync.stamp(2000)")


async def resumed(gateway: Gateway, number: int, cursor: str) -> list[int]:
    """The numbers of the events that a session gets after a cursor."""
    frames: list[Frame] = []
    async with gateway.session(jwt=token(f"u{number}"), cursor=cursor) as agent:
        assert agent.seen[0]["recovered"] is True
        while not frames or frames[-1].get("more"):
            frames.append(await agent.next("events"))
    return [event["seq"] for frame in frames for event in frame["events"]]


async def test_waves_of_sessions_read_what_they_missed_once(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session() as agent:
        cursor = agent.seen[0]["cursor"]
    first = int(cursor.rpartition(".")[2]) + 1
    publish(owner, MISSED)
    before = reads("block")
    for _ in range(3):
        wave = await asyncio.gather(*(resumed(gateway, number, cursor) for number in range(20)))
        assert wave == [list(range(first, first + MISSED))] * 20
        # All are gone, and the ring with them.
        await until(lambda: len(gateway.hub) == 0)
    assert reads("block") == before + 1


async def test_a_wave_gets_what_was_published_after_the_one_before(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session() as agent:
        cursor = agent.seen[0]["cursor"]
    first = int(cursor.rpartition(".")[2]) + 1
    for wave in range(1, 5):
        publish(owner, 80)
        assert await resumed(gateway, wave, cursor) == list(range(first, first + 80 * wave))
        await until(lambda: len(gateway.hub) == 0)


async def test_what_was_kept_is_not_given_out_once_retention_took_it(
    database_url: str, inbox_id: int, owner: SyncConnection
) -> None:
    publish(owner, MISSED)
    settings = settings_for(database_url, ring_events=16, poll_interval_ms=100)
    async with running_gateway(settings) as gateway:
        epoch = (await gateway.get("/api/events")).json()["to"].rpartition(".")[0]
        assert len(await resumed(gateway, 1, f"{epoch}.0")) == MISSED
        async with gateway.session():
            feed = gateway.feed.find("t1")
            assert feed is not None
            owner.execute("update chatsync.streams set trimmed_to = 100")
            await until(lambda: feed.trimmed_to == 100)
            poll = await gateway.get("/api/events", cursor=f"{epoch}.99")
            assert (poll.status_code, poll.json()["reason"]) == (410, "trimmed")
            assert await resumed(gateway, 2, f"{epoch}.100") == list(range(101, MISSED + 1))


async def test_a_new_epoch_is_read_anew(
    gateway: Gateway, owner: SyncConnection, worker: SyncConnection
) -> None:
    async with gateway.session() as agent:
        old = agent.seen[0]["cursor"]
        publish(owner, 10)
    await resumed(gateway, 1, old)
    worker.execute("select chatsync.open_epochs()")
    async with gateway.session() as agent:
        # A gateway with nobody of the tenant looks at its log when somebody comes.
        cursor = agent.seen[0]["cursor"]
        assert cursor.rpartition(".")[0] != old.rpartition(".")[0]
    say(worker, 1)
    owner.execute("select chatsync.stamp(2000)")
    first = int(cursor.rpartition(".")[2]) + 1
    assert await resumed(gateway, 2, cursor) == [first]
    async with gateway.session(cursor=old) as agent:
        assert agent.seen[0]["reason"] == "epoch"


async def test_those_who_connect_at_once_are_judged_together(
    gateway: Gateway, owner: SyncConnection
) -> None:
    owner.execute("create table chatsync.asked (n int)")
    owner.execute("grant insert on chatsync.asked to chatsync_gateway")
    owner.execute(
        "create or replace function chatsync.refused_topics_of_each(p_questions jsonb)"
        " returns setof text[] language sql as $$"
        " insert into chatsync.asked values (jsonb_array_length(p_questions));"
        " select array[]::text[] from jsonb_array_elements(p_questions) $$"
    )

    async def opens(number: int) -> None:
        async with gateway.session(jwt=token(f"u{number}")):
            pass

    await asyncio.gather(*map(opens, range(40)))
    row = owner.execute("select count(*), sum(n) from chatsync.asked").fetchone()
    assert row is not None
    assert row[1] == 40
    assert row[0] < 20  # type: ignore[operator]
