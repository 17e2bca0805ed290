"""What a gateway shows of itself: metrics of every stage, /api/stats, /debug/sessions."""

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chatsync.gateway import census
from service.harness import (
    PATIENCE_SECONDS,
    Gateway,
    create_inbox,
    running_gateway,
    settings_for,
    token,
)
from service.payloads import delivery, said

STAGES = ("commit_to_stamp", "stamp_to_gateway", "gateway_to_write", "write_to_ack")


async def samples(gateway: Gateway) -> dict[str, float]:
    """What /metrics shows, by name and label values."""
    text = (await gateway.http.get("/metrics")).text
    return {
        " ".join([sample.name, *(sample.labels[name] for name in sorted(sample.labels))]): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def until(check: Any) -> Any:
    """Ask until the answer is true: figures are looked at now and then."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (answer := await check()):  # noqa: ASYNC110 - nothing to wait on
            await asyncio.sleep(0.02)
        return answer


async def test_every_stage_of_an_events_way_is_timed(gateway: Gateway) -> None:
    names = [f"chatsync_{stage}_seconds_count" for stage in STAGES]
    before = await samples(gateway)
    async with gateway.session() as agent:
        for number in range(2):
            await gateway.post(delivery(said(str(number), f"w{number}")))
            frame = await agent.next("events")
            # Whoever acknowledges once is timed from then on.
            await agent.send(type="ack", cursor=frame["to"])

        async def are_timed() -> bool:
            after = await samples(gateway)
            return all(after[name] > before.get(name, 0) for name in names)

        await until(are_timed)


async def test_how_sockets_end_is_counted_by_whom_and_with_which_code(gateway: Gateway) -> None:
    name = "chatsync_sessions_closed_total"
    before = await samples(gateway)
    for code in (1000, 1001, 3999, 4321):
        async with gateway.session() as agent:
            await agent.socket.close(code)
    async with gateway.session() as agent:
        agent.socket.transport.abort()
    async with gateway.session() as agent:
        await agent.socket.send("x" * 70_000)
        await agent.socket.wait_closed()
    async with gateway.session() as agent:
        await agent.socket.send("no JSON")
        await agent.closed()
    expected = {
        f"{name} client 1000": 1,
        f"{name} client 1001": 1,
        f"{name} client other": 2,
        f"{name} nobody 1006": 1,
        f"{name} server 1009": 1,
        f"{name} server 4500": 1,
    }

    async def are_counted() -> bool:
        after = await samples(gateway)
        return expected == {
            each: count - before.get(each, 0)
            for each, count in after.items()
            if each.startswith(name) and count != before.get(each, 0)
        }

    await until(are_counted)


async def test_resumes_are_counted_by_what_came_of_them_and_where_they_read(
    database_url: str, inbox_id: int
) -> None:
    settings = settings_for(database_url, ring_events=16)
    async with running_gateway(settings) as gateway:
        before = await samples(gateway)
        async with gateway.session() as first:
            start = first.seen[0]["cursor"]
            for number in range(30):
                await gateway.post(delivery(said(str(number), f"w{number}")))
            await first.until_said("29")
            head = (await gateway.get("/api/events")).json()["to"]
            epoch, _, number = head.partition(".")
            for cursor in (start, f"{epoch}.{int(number) - 1}", head, f"{epoch}.99999"):
                async with gateway.session(cursor=cursor):
                    pass
        after = await samples(gateway)

    def rise(*labels: str) -> float:
        name = " ".join(["chatsync_resumes_total", *labels])
        return after.get(name, 0) - before.get(name, 0)

    assert rise("new", "none") == 1
    assert rise("recovered", "log") == 1
    assert rise("recovered", "ring") == 1
    assert rise("recovered", "none") == 1
    assert rise("ahead", "none") == 1


async def test_the_lag_of_sessions_is_seen(
    database_url: str, inbox_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "LOOK_SECONDS", 0.02)
    async with running_gateway(settings_for(database_url)) as gateway, gateway.session() as agent:
        # A client that acknowledged once, and never again.
        await agent.send(type="ack", cursor=agent.seen[0]["cursor"])
        await gateway.post(delivery(said("hi", "w1")))
        await agent.events(2)

        async def is_seen() -> bool:
            now = await samples(gateway)
            lag = now["chatsync_cursor_lag_events acknowledged"]
            return lag >= 2 and now["chatsync_sessions_behind"] == 0

        await until(is_seen)
        admin = token(role="admin")
        (session,) = (await gateway.get("/debug/sessions", admin)).json()["sessions"]
        assert session["unacknowledged"] >= 2


async def test_stats_are_added_up_over_gateways(
    database_url: str, inbox_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "LOOK_SECONDS", 0.02)
    create_inbox(database_url, tenant="t2", number="200")
    settings = settings_for(database_url)
    async with running_gateway(settings) as one:
        async with (
            running_gateway(settings, with_worker=False) as two,
            one.session(),
            one.session(),
            two.session(),
            two.session(token(tenant="t2")),
        ):
            await one.post(delivery(said("hello", "w-1", "1555"), customer="1555", name="C"))

            async def both_know() -> bool:
                admin = token(role="admin")
                answers = [(await each.get("/api/stats", admin)).json() for each in (one, two)]
                return all(
                    answer["connectionsByTenant"] == {"t1": 3, "t2": 1}
                    # The conversation and its message, to three.
                    and answer["delivery"] == {"eventsDelivered": 6}
                    for answer in answers
                )

            await until(both_know)
            ours = (await two.get("/api/stats", token())).json()
            everything = (await one.get("/api/stats", token(role="service"))).json()
            older = (await one.get("/api/socket/stats", token(role="service"))).json()
            mine = (await two.get("/api/stats", token(tenant="t2"))).json()

        assert (everything["totalConnections"], everything["gateways"]) == (4, 2)
        assert everything.keys() == older.keys()
        assert set(everything["queue"]) == {
            "scheduled", "pending", "processing", "retrying", "paused", "dead",
        }  # fmt: skip
        assert (mine["totalConnections"], mine["connectionsByTenant"]) == (1, {"t2": 1})
        assert (ours["delivery"]["eventsDelivered"], mine["delivery"]["eventsDelivered"]) == (6, 0)
        assert "gateways" not in mine

        # One that ended well is not counted any more.
        alone = (await one.get("/api/stats", token(role="admin"))).json()
        assert alone["gateways"] == 1


async def test_queue_figures_are_of_the_callers_tenant(database_url: str, inbox_id: int) -> None:
    create_inbox(database_url, tenant="t2", number="200")
    async with running_gateway(settings_for(database_url), with_worker=False) as gateway:
        await gateway.post(delivery(said("waits", "w1")))
        mine = (await gateway.get("/api/stats")).json()
        foreign = (await gateway.get("/api/stats", token(tenant="t2"))).json()
        everybody = (await gateway.get("/api/stats", token(tenant="t2", role="admin"))).json()

    waiting = [answer["queue"]["pending"] for answer in (mine, foreign, everybody)]
    assert waiting == [1, 0, 1]


async def test_an_admin_sees_the_sessions_of_a_process(gateway: Gateway) -> None:
    admin = token("boss", role="admin")
    async with (
        gateway.session(topics=["tenant"]) as agent,
        gateway.session(token("u2"), topics=["user"]),
    ):
        await gateway.post(delivery(said("hi", "w1")))
        await agent.events(2)
        seen = (await gateway.get("/debug/sessions", admin)).json()
        some = (await gateway.get("/debug/sessions", admin, user="u2")).json()["sessions"]
        none = (await gateway.get("/debug/sessions", admin, tenant="t2")).json()["sessions"]
        refused = await gateway.get("/debug/sessions", token(role="supervisor"))

    assert seen["total"] == 2
    (mine,) = [each for each in seen["sessions"] if each["user"] == "u1"]
    assert mine["tenant"] == "t1"
    assert mine["topics"] == ["tenant:t1"]
    assert (mine["lag"], mine["transport"], mine["quality"]) == (0, "websocket", "good")
    assert mine["rttMs"] is None
    assert [each["user"] for each in some] == ["u2"]
    assert none == []
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_stats_and_sessions_are_for_those_with_a_token(gateway: Gateway) -> None:
    for path in ("/api/stats", "/api/socket/stats", "/debug/sessions"):
        assert (await gateway.http.get(path)).status_code == 401
