"""What `chatsync dev` lets pass besides (protocol §6): unknown accounts, unproven deliveries."""

import json
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest

from chatsync.dev.server import DEMO_SECRET
from chatsync.providers.whatsapp_cloud import sign
from conftest import Connections, SyncConnection
from service.harness import free_port, process, wait_for
from service.payloads import delivery, said


@pytest.fixture
def http(database_url: str, tmp_path: Path) -> Generator[httpx2.Client]:
    """A client of `chatsync dev`, whose log has no traceback in the end."""
    port, log = free_port(), tmp_path / "log"
    with (
        process(
            "dev",
            f"--port={port}",
            database_url=database_url,
            log=log,
            CHATSYNC_DATA_DIR=str(tmp_path / "data"),
        ),
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as client,
    ):
        wait_for(lambda: "chatsync is ready" in log.read_text(), "the greeting")
        yield client
    assert "Traceback" not in log.read_text()


def kept(owner: SyncConnection) -> list[tuple[object, ...]]:
    return owner.execute(
        "select tenant_id, provider, external_id from chatsync.inboxes order by inbox_id"
    ).fetchall()


def test_an_unknown_account_gets_an_inbox_with_the_known_secret(
    http: httpx2.Client, connections: Connections, tmp_path: Path
) -> None:
    owner = connections.open("chatsync_owner")
    instance = json.dumps({"event": "chats.update", "instance": "shop", "data": {}}).encode()
    number = json.dumps(delivery(said("hi", "w1"), number="555")).encode()
    answers = [
        http.post("/webhooks/evolution", content=instance),
        http.post("/webhooks/evolution", content=instance, headers={"apikey": DEMO_SECRET}),
        http.post("/webhooks/evolution", content=instance, headers={"apikey": "wrong"}),
        http.post("/webhooks/whatsapp", content=number),
        http.post(
            "/webhooks/whatsapp",
            content=number,
            headers={"X-Hub-Signature-256": sign(number, DEMO_SECRET)},
        ),
        http.post(
            "/webhooks/whatsapp",
            content=number,
            headers={"X-Hub-Signature-256": sign(number, "wrong")},
        ),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 401] * 2
    assert kept(owner) == [("demo", "evolution", "shop"), ("demo", "whatsapp_cloud", "555")]
    assert (tmp_path / "log").read_text().count("unsigned_webhook_accepted") == 2


def test_a_standard_sender_needs_an_inbox_but_no_signature(
    http: httpx2.Client, connections: Connections
) -> None:
    owner = connections.open("chatsync_owner")
    body = b'{"type": "message"}'
    unknown = http.post("/webhooks/standard/1", content=body)
    created = connections.open("chatsync_worker").execute(
        "select chatsync.create_inbox('demo', 'standard', 'crm')"
    )
    row = created.fetchone()
    assert row is not None
    known = http.post(f"/webhooks/standard/{row[0]}", content=body)
    wrong = http.post(
        f"/webhooks/standard/{row[0]}", content=body, headers={"webhook-signature": "v1,AAAA"}
    )

    assert [answer.status_code for answer in (unknown, known, wrong)] == [401, 200, 401]
    assert kept(owner) == [("demo", "standard", "crm")]
