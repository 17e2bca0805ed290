"""PostgreSQL restarts under load: sessions stay, nothing answered is lost, all goes on."""

import asyncio
import os
from typing import Any

import psycopg
import pytest

from chatsync.dev.embedded import EmbeddedPostgres
from service.harness import Gateway, running_gateway, settings_for
from service.payloads import delivery, said


@pytest.mark.parametrize("is_immediate", [False, True], ids=["fast", "immediate"])
async def test_a_restart_of_postgresql_loses_nothing_that_was_answered(
    server: EmbeddedPostgres, is_immediate: bool
) -> None:
    async with running_gateway(settings_for(server.url)) as gateway, gateway.session() as agent:
        accepted: list[str] = []
        refused: list[int] = []
        sending = asyncio.create_task(_send(gateway, accepted, refused))
        hearing = asyncio.create_task(_hear(agent))
        for _ in range(3):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(server.restart, immediate=is_immediate)
        await asyncio.sleep(0.3)
        sending.cancel()
        await gateway.until_ready()
        assert (await gateway.post(delivery(said("the end", "w-end")))).status_code == 200
        contents, seqs = await asyncio.wait_for(hearing, 30)

    assert seqs == list(range(1, len(seqs) + 1))
    assert len(contents) == len(set(contents))
    # What was refused may have been committed all the same; what was accepted must have been.
    assert set(accepted) <= set(contents)
    assert [int(text) for text in contents] == sorted(int(text) for text in contents)
    assert len(accepted) > 10
    assert set(refused) <= {503}


async def _send(gateway: Gateway, accepted: list[str], refused: list[int]) -> None:
    number = 0
    while True:
        text = str(number)
        answer = await gateway.post(delivery(said(text, f"w{number}")))
        if answer.status_code == 200:
            accepted.append(text)
        else:
            refused.append(answer.status_code)
            assert int(answer.headers["retry-after"]) >= 1
        number += 1
        await asyncio.sleep(0.005)


async def _hear(agent: Any) -> tuple[list[str], list[int]]:
    contents: list[str] = []
    seqs: list[int] = []
    while True:
        for event in await agent.events(1):
            seqs.append(event["seq"])
            if event["type"] == "message:new":
                content = event["data"]["message"]["content"]
                if content == "the end":
                    return contents, seqs
                contents.append(content)


async def test_a_gateway_without_its_database_says_so_and_comes_back(
    server: EmbeddedPostgres,
) -> None:
    async with running_gateway(settings_for(server.url)) as gateway, gateway.session() as agent:
        await asyncio.to_thread(os.kill, server.pid, 19)
        try:
            ready = await gateway.http.get("/readyz")
            live = await gateway.http.get("/livez")
        finally:
            await asyncio.to_thread(os.kill, server.pid, 18)
        await asyncio.to_thread(server.restart)
        await gateway.until_ready()
        await gateway.post(delivery(said("back", "w1")))
        events = await agent.events(2)

    assert live.status_code == 200
    assert ready.status_code in {200, 503}
    assert events[1]["data"]["message"]["content"] == "back"


async def test_terminated_backends_are_replaced_and_nothing_is_missed(
    database_url: str, gateway: Gateway
) -> None:
    async with gateway.session() as agent:
        for number in range(5):
            with psycopg.connect(database_url, autocommit=True) as admin:
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                    " and backend_type = 'client backend'"
                )
            answer = await gateway.post(delivery(said(str(number), f"w{number}")))
            while answer.status_code == 503:
                answer = await gateway.post(delivery(said(str(number), f"w{number}")))
            assert answer.status_code == 200
        contents: list[str] = []
        while len(contents) < 5:
            contents += [
                event["data"]["message"]["content"]
                for event in await agent.events(1)
                if event["type"] == "message:new"
            ]

    assert contents == [str(number) for number in range(5)]
