"""If a delivery was answered before the next one was sent, its events have lower numbers: with two
workers, and while one of them is killed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from chatsync.providers.whatsapp_cloud import sign
from conftest import SyncConnection
from service.harness import (
    APP_SECRET,
    create_inbox,
    process,
    running_gateway,
    settings_for,
    wait_for,
)
from service.payloads import delivery, said

INBOXES = 4
PER_INBOX = 60


@pytest.mark.parametrize("number", [9, 19], ids=["killed", "stopped for longer than its lease"])
async def test_order_holds_with_two_workers_and_one_killed(
    database_url: str, owner: SyncConnection, tmp_path: Path, number: int
) -> None:
    for inbox in range(INBOXES):
        create_inbox(database_url, number=f"{inbox}")
    log = tmp_path / "log"
    work = {"CHATSYNC_BATCH_SIZE": "5"}
    settings = settings_for(database_url)
    with (
        process("work", database_url=database_url, log=log, **work) as doomed,
        process("work", database_url=database_url, log=log, **work),
    ):
        wait_for(lambda: _count(owner, "workers") == 2, "the start of both workers")
        async with running_gateway(settings, with_worker=False) as gateway:
            senders = [
                asyncio.create_task(_send_in_order(gateway.http, str(inbox)))
                for inbox in range(INBOXES)
            ]
            await _until(owner, INBOXES * PER_INBOX // 4)
            doomed.kill(number)
            await asyncio.gather(*senders)
            await _until(owner, INBOXES * PER_INBOX)

    _check_order(owner)
    assert _count(owner, "message_queue") == 0
    assert _count(owner, "failed_messages") == 0
    assert "Traceback" not in log.read_text()


async def _send_in_order(http: httpx2.AsyncClient, inbox: str) -> None:
    for number in range(PER_INBOX):
        customer = f"1555{number % 3}{inbox}"
        change = said(f"{number}", f"w{inbox}.{number}", customer)
        body = json.dumps(delivery(change, number=inbox, customer=customer)).encode()
        headers = {"X-Hub-Signature-256": sign(body, APP_SECRET)}
        answer = await http.post("/webhooks/whatsapp", content=body, headers=headers)
        assert answer.status_code == 200


def _check_order(owner: SyncConnection) -> None:
    rows: list[Any] = owner.execute(
        "select seq, data -> 'message' ->> 'inboxId', (data -> 'message' ->> 'content')::int"
        " from chatsync.event_log where type = 'message:new' order by seq"
    ).fetchall()
    by_inbox: dict[str, list[int]] = {}
    for _, inbox, number in rows:
        by_inbox.setdefault(inbox, []).append(number)
    assert len(by_inbox) == INBOXES
    for numbers in by_inbox.values():
        assert numbers == list(range(PER_INBOX))
    seqs = [row[0] for row in owner.execute("select seq from chatsync.event_log order by seq")]
    assert seqs == list(range(1, len(seqs) + 1))


async def _until(owner: SyncConnection, messages: int) -> None:
    async with asyncio.timeout(40):
        while _stamped(owner) < messages:  # noqa: ASYNC110 - other processes stamp
            await asyncio.sleep(0.02)


def _stamped(owner: SyncConnection) -> int:
    row = owner.execute(
        "select count(*) from chatsync.event_log where type = 'message:new'"
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def _count(owner: SyncConnection, table: str) -> int:
    row = owner.execute(f"select count(*) from chatsync.{table}".encode()).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]
