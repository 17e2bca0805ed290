"""Sessions over real sockets: connecting, subscribing, refusals, closes."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from chatsync.gateway.auth import mint
from service.harness import JWT_SECRET, Gateway, create_inbox, running_gateway, settings_for, token
from service.payloads import delivery, said


async def test_connected_tells_what_a_client_needs(gateway: Gateway) -> None:
    async with gateway.raw() as client:
        await client.send(type="connect", id="c1", token=token("u7"))
        connected = await client.next()

    assert connected["type"] == "connected"
    assert connected["id"] == "c1"
    assert connected["tenantId"] == "t1"
    assert connected["userId"] == "u7"
    assert connected["recovered"] is False
    assert connected["reason"] == "new"
    assert connected["topics"] == ["tenant:t1", "user:u7"]
    assert connected["heartbeat"] == {"intervalMs": 25000, "timeoutMs": 10000}
    assert connected["limits"] == {
        "frameBytes": 65536,
        "topics": 200,
        "framesPerSecond": 50,
        "sessionsPerUser": 50,
    }
    assert connected["tokenExpiresAt"].endswith("Z")
    assert "refused" not in connected


async def test_a_bearer_header_stands_for_the_token(gateway: Gateway) -> None:
    async with gateway.raw(additional_headers={"Authorization": f"Bearer {token()}"}) as client:
        await client.send(type="connect")
        assert (await client.next())["type"] == "connected"


async def test_the_subprotocol_is_answered_when_offered(gateway: Gateway) -> None:
    async with connect(gateway.ws, subprotocols=["chatsync.v1"]) as socket:  # pyright: ignore
        assert socket.subprotocol == "chatsync.v1"


async def test_a_foreign_origin_is_refused_before_it_is_accepted(gateway: Gateway) -> None:
    for origin in ("https://evil.example", "https://app.example.evil", "null"):
        with pytest.raises(InvalidStatus) as caught:
            async with connect(gateway.ws, origin=origin):  # pyright: ignore
                pass
        assert caught.value.response.status_code == 403
    async with connect(gateway.ws, origin="https://app.example"):  # pyright: ignore
        pass


async def test_a_token_in_the_url_is_refused(gateway: Gateway) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"{gateway.ws}?token={token()}"):
            pass
    assert caught.value.response.status_code == 400


FORGED = mint("x" * 32, tenant_id="t1", user_id="u", role="agent", ttl_seconds=60)
EXPIRED = mint(JWT_SECRET, tenant_id="t1", user_id="u", role="agent", ttl_seconds=-60)
TWO_TENANTS = mint(JWT_SECRET, tenant_id="a,b", user_id="u", role="agent", ttl_seconds=6000)


@pytest.mark.parametrize(
    ("jwt", "code"),
    [("not-a-token", 4501), (FORGED, 4501), (EXPIRED, 4300), (TWO_TENANTS, 4501)],
)
async def test_a_bad_token_is_answered_with_its_close_code(
    gateway: Gateway, jwt: str, code: int
) -> None:
    async with gateway.raw() as client:
        await client.send(type="connect", token=jwt)
        error = await client.next("error")
        closed, closing = await client.closed()

    assert error["code"] in {"unauthorized", "token_expired"}
    assert closed == closing["code"] == code


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('{"type": "ping"}', 4501),
        ("[1, 2]", 4500),
        ("nonsense", 4500),
        ('{"type": "connect", "token": 5}', 4500),
        ('{"type": "connect", "token": "x", "cursor": "no cursor"}', 4500),
        ('{"type": "connect", "token": "x", "topics": "tenant"}', 4500),
    ],
)
async def test_a_bad_first_frame_ends_the_session(gateway: Gateway, frame: str, code: int) -> None:
    async with gateway.raw() as client:
        await client.socket.send(frame)
        closed, closing = await client.closed()

    assert closed == closing["code"] == code
    assert len(closing["retryMs"]) == 2


async def test_a_socket_that_says_nothing_is_closed_in_time(
    database_url: str, inbox_id: int
) -> None:
    settings = settings_for(database_url, connect_timeout_ms=100)
    async with running_gateway(settings) as gateway, gateway.raw() as client:
        assert (await client.closed())[0] == 4205


async def test_an_expired_token_ends_a_session_within_seconds(gateway: Gateway) -> None:
    async with gateway.raw() as client:
        # Tokens have whole seconds: one of a single second may be over by now.
        await client.send(type="connect", token=token(ttl=2))
        await client.next("connected")
        await client.next("tokenExpiring")
        assert (await client.closed())[0] == 4300


async def test_a_refreshed_token_keeps_a_session_alive(gateway: Gateway) -> None:
    async with gateway.session(token(ttl=2)) as client:
        await client.send(type="refresh", id=1, token=token(ttl=600))
        await client.next("reply")
        await client.send(type="refresh", id=2, token="nonsense")
        assert (await client.next("error"))["code"] == "unauthorized"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await client.next("closing")


async def test_a_token_of_somebody_else_ends_the_session(gateway: Gateway) -> None:
    async with gateway.session() as client:
        await client.send(type="refresh", id=1, token=token("somebody-else"))
        assert (await client.closed())[0] == 4503


async def test_subscribing_is_all_or_nothing(gateway: Gateway) -> None:
    await gateway.post(delivery(said("hi", "w1")))
    async with gateway.session(topics=["user"]) as client:
        await client.send(type="subscribe", id=1, topics=["tenant", "conversation:999"])
        refused = await client.next("error")
        await client.send(type="subscribe", id=2, topics=["empresa:t1"])
        reply = await client.next("reply")

    assert refused["id"] == 1
    assert refused["code"] == "forbidden"
    assert refused["data"]["topics"] == ["conversation:999"]
    assert reply["data"]["topics"] == ["tenant:t1"]
    assert "." in reply["data"]["cursor"]


async def test_an_unsubscribed_topic_is_silent(gateway: Gateway) -> None:
    async with gateway.session(topics=["tenant"]) as silent, gateway.session() as hearing:
        await silent.send(type="unsubscribe", id=1, topics=["tenant"])
        await silent.next("reply")
        await gateway.post(delivery(said("hi", "w1")))
        await hearing.events(2)
        await silent.send(type="subscribe", id=2, topics=["tenant"])
        reply = await silent.next("reply")
        await gateway.post(delivery(said("again", "w2")))
        events = await silent.events(2)

    assert reply["data"]["cursor"].endswith(".2")
    assert [event["seq"] for event in events] == [3, 4]


async def test_a_ping_is_answered_and_unknown_frames_are_refused(gateway: Gateway) -> None:
    async with gateway.session() as client:
        await client.send(type="ping", n=7)
        assert (await client.next("pong"))["n"] == 7
        await client.send(type="dance", id="x")
        error = await client.next("error")
        await client.send(type="ping")
        await client.next("pong")

    assert (error["id"], error["code"], error["retryable"]) == ("x", "bad_request", False)


async def test_an_acknowledgement_beyond_what_was_sent_is_refused(gateway: Gateway) -> None:
    async with gateway.session() as client:
        epoch = client.seen[0]["cursor"].rpartition(".")[0]
        await client.send(type="ack", cursor=f"{epoch}.0")
        await client.send(type="ack", cursor=f"{epoch}.5")
        assert (await client.closed())[0] == 4500


async def test_sync_repairs_a_gap(gateway: Gateway) -> None:
    async with gateway.session() as client:
        start = client.seen[0]["cursor"]
        await gateway.post(delivery(said("one", "w1")))
        await client.events(2)
        await client.send(type="sync", id=1, cursor=start)
        frame = await client.next("events")
        reply = await client.next("reply")

    assert frame["from"] == start
    assert frame["replay"] is True
    assert "more" not in frame
    assert [event["seq"] for event in frame["events"]] == [1, 2]
    assert reply["data"]["cursor"] == frame["to"]


async def test_a_silent_client_is_closed_after_two_pings(database_url: str, inbox_id: int) -> None:
    settings = settings_for(database_url, ping_interval_ms=150)
    async with running_gateway(settings) as gateway, gateway.session() as client:
        pings = [await client.next("ping"), await client.next("ping")]
        closed, closing = await client.closed()

    assert [ping["n"] for ping in pings] == [1, 2]
    assert closed == closing["code"] == 4204


async def test_an_answering_client_stays(database_url: str, inbox_id: int) -> None:
    settings = settings_for(database_url, ping_interval_ms=100)
    async with running_gateway(settings) as gateway, gateway.session() as client:
        last = {}
        for _ in range(5):
            last = await client.next("ping")
            await client.send(type="pong", n=last["n"], cursor=last["cursor"])

    assert last["n"] == 5
    assert last["rttMs"] >= 0


async def test_a_flood_is_closed_with_a_retry_window(gateway: Gateway) -> None:
    async with gateway.session() as client:
        for number in range(200):
            await client.socket.send(json.dumps({"type": "pong", "n": number}))
        closed, closing = await client.closed()

    assert closed == 4201
    assert closing["retryMs"] == [1000, 30000]


async def test_a_frame_over_the_limit_is_refused(gateway: Gateway) -> None:
    async with gateway.session() as client:
        await client.socket.send(json.dumps({"type": "ping", "x": "y" * 70_000}))
        await client.socket.wait_closed()

    assert client.socket.close_code == 1009


async def test_a_user_with_too_many_sessions_is_refused(database_url: str, inbox_id: int) -> None:
    settings = settings_for(database_url, sessions_per_user=1)
    async with running_gateway(settings) as gateway, gateway.session(), gateway.raw() as second:
        await second.send(type="connect", token=token())
        assert (await second.closed())[0] == 4506


async def test_a_drained_gateway_sends_its_sessions_away(database_url: str) -> None:
    create_inbox(database_url)
    async with running_gateway(settings_for(database_url)) as gateway:
        async with gateway.session() as client:
            gateway.hub.drain()
            closed, closing = await client.closed()
        assert (await gateway.http.get("/readyz")).status_code == 503
        assert (await gateway.http.get("/livez")).status_code == 200

    assert closed == closing["code"] == 4100
    assert closing["retryMs"][0] <= closing["retryMs"][1]


async def test_a_full_gateway_and_a_stranger_are_told_so(database_url: str, inbox_id: int) -> None:
    settings = settings_for(database_url, max_sessions=1)
    async with running_gateway(settings) as gateway, gateway.session(), gateway.raw() as second:
        assert (await second.closed())[0] == 4200
    async with running_gateway(settings) as gateway, gateway.raw() as stranger:
        await stranger.send(type="connect", token=token(tenant="unheard-of"))
        assert (await stranger.next("error"))["code"] == "not_found"
        assert (await stranger.closed())[0] == 4501


async def test_another_version_of_the_protocol_is_refused(gateway: Gateway) -> None:
    async with gateway.raw(subprotocols=["chatsync.v9"]) as client:
        assert (await client.closed())[0] == 4505
