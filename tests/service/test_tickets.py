"""Tickets: a minute, one use, on any gateway."""

import asyncio
from datetime import UTC, datetime

import psycopg
import pytest

from conftest import SyncConnection
from service.harness import Gateway, create_inbox, running_gateway, settings_for, token
from service.streams import asking, publish, stream, ticket, until

pytestmark = pytest.mark.usefixtures("clean_logs")


async def used(gateway: Gateway, given: str) -> tuple[int, str]:
    async with asking(gateway, is_anonymous=True, ticket=given) as answer:
        if answer.status == 200:
            return 200, (await answer.next("connected"))["userId"]
        assert "bearer" in answer.headers["www-authenticate"]
        return answer.status, (await answer.body())["code"]


async def test_a_ticket_stands_for_its_token_once(gateway: Gateway) -> None:
    given = await ticket(gateway, token("u7"))

    assert await used(gateway, given) == (200, "u7")
    assert await used(gateway, given) == (401, "unauthorized")


async def test_a_ticket_says_when_it_runs_out(gateway: Gateway) -> None:
    headers = {"Authorization": f"Bearer {token()}"}
    answer = await gateway.http.post("/api/ticket", headers=headers)
    left = datetime.fromisoformat(answer.json()["expiresAt"]) - datetime.now(UTC)

    assert 50 < left.total_seconds() <= 60
    assert answer.headers["cache-control"] == "no-store"


async def test_of_many_uses_at_once_on_two_gateways_one_succeeds(
    database_url: str, inbox_id: int, owner: SyncConnection
) -> None:
    settings = settings_for(database_url)
    async with (
        running_gateway(settings) as one,
        running_gateway(settings, with_worker=False) as two,
    ):
        given = await ticket(one)
        with owner.transaction():
            # Nobody gets past the ticket before all of them have reached it.
            owner.execute("select from chatsync.tickets for update")
            using = [asyncio.create_task(used(at, given)) for at in (one, two) * 4]
            with psycopg.connect(database_url, autocommit=True) as login:
                await until(lambda: waiting(login) == 8, "the crowd")
        answers = await asyncio.gather(*using)

    assert sorted(answers) == [(200, "u1")] + [(401, "unauthorized")] * 7


def waiting(login: SyncConnection) -> object:
    row = login.execute(
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and wait_event_type = 'Lock'"
    ).fetchone()
    assert row is not None
    return row[0]


async def test_a_ticket_is_good_on_another_gateway(database_url: str, inbox_id: int) -> None:
    settings = settings_for(database_url)
    async with (
        running_gateway(settings) as one,
        running_gateway(settings, with_worker=False) as two,
    ):
        assert await used(two, await ticket(one)) == (200, "u1")


async def test_a_ticket_of_another_tenant_opens_the_other_tenant(
    gateway: Gateway, database_url: str
) -> None:
    create_inbox(database_url, tenant="t2", number="200")
    other = token(tenant="t2")
    async with stream(gateway, is_anonymous=True, ticket=await ticket(gateway, other)) as listener:
        assert (await listener.next())["topics"] == ["tenant:t2", "user:u1"]
        await publish(gateway, 1)
        await publish(gateway, 2, tenant="t2")
        assert (await listener.events(1))[0]["data"] == {"n": 2}
    given = await ticket(gateway, other)
    async with asking(gateway, is_anonymous=True, ticket=given, topics="tenant:t1") as refused:
        assert (refused.status, (await refused.body())["code"]) == (403, "forbidden")
    # It was refused, and is spent all the same.
    assert await used(gateway, given) == (401, "unauthorized")


async def test_a_ticket_that_ran_out_is_refused_and_swept_away(
    gateway: Gateway, owner: SyncConnection
) -> None:
    given = await ticket(gateway)
    owner.execute("update chatsync.tickets set expires_at = now() - interval '1 second'")
    assert await used(gateway, given) == (401, "unauthorized")
    await ticket(gateway)
    owner.execute("update chatsync.tickets set expires_at = now() - interval '1 second'")
    await ticket(gateway)

    rows = owner.execute("select count(*), bool_and(expires_at > now()) from chatsync.tickets")
    assert rows.fetchone() == (1, True)


async def test_what_is_no_ticket_is_refused(gateway: Gateway) -> None:
    for given in ("", "x", "x" * 43, "ü" * 43, "\0" * 43, "x" * 5000, "a.b.c"):
        assert await used(gateway, given) == (401, "unauthorized"), given


async def test_a_header_goes_before_a_ticket_and_leaves_it_unspent(gateway: Gateway) -> None:
    given = await ticket(gateway, token("u7"))
    async with stream(gateway, token("u8"), ticket=given) as listener:
        assert (await listener.next())["userId"] == "u8"
    assert await used(gateway, given) == (200, "u7")


async def test_a_ticket_opens_nothing_but_a_stream(gateway: Gateway) -> None:
    given = await ticket(gateway)
    for path in ("/api/events", "/api/sync", "/api/conversations"):
        answer = await gateway.http.get(path, params={"ticket": given})
        assert answer.status_code == 401
    assert (await gateway.http.post("/api/ticket", params={"ticket": given})).status_code == 401
    assert (await gateway.http.get("/api/ticket")).status_code == 405


async def test_a_user_holds_so_many_tickets_and_no_more(
    gateway: Gateway, owner: SyncConnection
) -> None:
    owner.execute(
        "insert into chatsync.tickets select decode(md5(n::text) || md5(n::text), 'hex'), 't1',"
        " 'u1', '{}', now() + interval '1 minute' from generate_series(1, 199) n"
    )
    await ticket(gateway)
    headers = {"Authorization": f"Bearer {token()}"}
    refused = await gateway.http.post("/api/ticket", headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) == 60
    await ticket(gateway, token("u2"))


async def test_the_database_keeps_no_ticket_that_could_be_used(
    gateway: Gateway, owner: SyncConnection
) -> None:
    given = await ticket(gateway)
    row = owner.execute("select ticket_hash, t::text from chatsync.tickets t").fetchone()
    assert row is not None
    assert given not in str(row[1])
    assert await used(gateway, bytes(row[0]).hex()) == (401, "unauthorized")  # pyright: ignore[reportArgumentType]
