"""What a sender of Standard Webhooks gets back, and what is kept (protocol §5)."""

import json
import time
from collections.abc import AsyncGenerator

import pytest

from chatsync.providers.standard import sign
from conftest import SyncConnection
from service.harness import Gateway, create_inbox, running_gateway, settings_for
from service.payloads import Frame

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_QW5vdGhlciBzZWNyZXQgb2YgdGVzdHM="
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY: Frame = {
    "type": "message",
    "contact": {"id": "c1", "name": "Ana"},
    "message": {"id": "m1", "type": "text", "text": "hi", "timestamp": "2026-01-01T00:00:00Z"},
}


@pytest.fixture
def inbox_id(database_url: str) -> int:
    """An inbox of t1; the next one is t2's, and one more has no secret."""
    first = create_inbox(database_url, number="crm", secret=SECRET, provider="standard")
    create_inbox(database_url, "t2", "crm2", OTHER_SECRET, provider="standard")
    create_inbox(database_url, "t2", "open", provider="standard")
    create_inbox(database_url, "t2", "100", SECRET)
    return first


@pytest.fixture
async def gateway(database_url: str, inbox_id: int) -> AsyncGenerator[Gateway]:
    """A gateway without a worker, so that what was enqueued stays in the queue."""
    assert inbox_id
    async with running_gateway(settings_for(database_url), with_worker=False) as running:
        yield running


def signed(raw: bytes, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    timestamp = str(int(time.time() if at is None else at))
    return {
        "webhook-id": ID,
        "webhook-timestamp": timestamp,
        "webhook-signature": sign(ID, timestamp, raw, secret),
    }


async def post(
    gateway: Gateway, inbox: object, raw: bytes, headers: dict[str, str]
) -> tuple[int, str | None]:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    answer = await gateway.http.post(f"/webhooks/standard/{inbox}", content=raw, headers=sent)
    return answer.status_code, answer.json()["code"] if answer.content else None


def kept(owner: SyncConnection) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    queued = "select tenant_id, message_type, metadata, body from chatsync.message_queue"
    dead = "select tenant_id, error_message, metadata, payload from chatsync.failed_messages"
    return owner.execute(queued).fetchall(), owner.execute(dead).fetchall()


async def test_a_signed_delivery_is_enqueued_with_the_id_that_its_sender_gave(
    gateway: Gateway, owner: SyncConnection, inbox_id: int
) -> None:
    raw = json.dumps(BODY).encode()
    assert await post(gateway, inbox_id, raw, signed(raw)) == (200, None)
    assert kept(owner) == ([("t1", "standard", {"webhookId": ID}, raw)], [])


async def test_a_delivery_is_tried_as_often_as_the_setting_says(
    database_url: str, owner: SyncConnection, inbox_id: int
) -> None:
    raw = json.dumps(BODY).encode()
    settings = settings_for(database_url, max_retries=2)
    async with running_gateway(settings, with_worker=False) as gateway:
        assert await post(gateway, inbox_id, raw, signed(raw)) == (200, None)
    assert owner.execute("select max_retries from chatsync.message_queue").fetchall() == [(2,)]


async def test_several_signatures_stand_for_a_secret_that_is_rotated(
    gateway: Gateway, inbox_id: int
) -> None:
    raw = json.dumps(BODY).encode()
    headers = signed(raw)
    other = signed(raw, secret=OTHER_SECRET)["webhook-signature"]
    headers["webhook-signature"] = f"v1a,xyz {other} {headers['webhook-signature']}"
    assert await post(gateway, inbox_id, raw, headers) == (200, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-signature", None),
        ("webhook-signature", ""),
        ("webhook-signature", "v1,"),
        ("webhook-signature", "v1,AAAA"),
        ("webhook-signature", "v1,not base64!"),
        ("webhook-signature", "v1,ü"),
        ("webhook-signature", "v2,AAAA"),
        ("webhook-id", None),
        ("webhook-id", ""),
        ("webhook-id", "another"),
        ("webhook-id", "ü"),
        ("webhook-timestamp", None),
        ("webhook-timestamp", "now"),
        ("webhook-timestamp", "9" * 400),
        ("webhook-timestamp", "²"),
    ],
)
async def test_a_wrong_header_is_refused_and_nothing_is_kept(
    gateway: Gateway, owner: SyncConnection, inbox_id: int, name: str, value: str | None
) -> None:
    raw = json.dumps(BODY).encode()
    headers = {each: given for each, given in signed(raw).items() if each != name}
    headers |= {} if value is None else {name: value}
    assert await post(gateway, inbox_id, raw, headers) == (401, "unauthorized")
    assert kept(owner) == ([], [])


async def test_a_signature_is_refused_that_another_made_or_that_is_not_of_now(
    gateway: Gateway, owner: SyncConnection, inbox_id: int
) -> None:
    raw = json.dumps(BODY).encode()
    now = time.time()
    wrong = [signed(raw, OTHER_SECRET), signed(raw, ""), signed(raw + b" ")]
    wrong += [signed(raw, at=at) for at in (0, -1, now - 600, now + 600)]
    for headers in wrong:
        assert await post(gateway, inbox_id, raw, headers) == (401, "unauthorized")
    assert kept(owner) == ([], [])


async def test_only_the_inbox_of_the_path_is_opened_by_its_secret(
    gateway: Gateway, owner: SyncConnection, inbox_id: int
) -> None:
    raw = json.dumps(BODY).encode()
    # Another tenant's, one without a secret, one of another provider, and what is no inbox at all.
    others = [inbox_id + 1, inbox_id + 2, inbox_id + 3, 999, 0, "-1", "1e3", "²", "x", "9" * 40, ""]
    for other in others:
        for secret in (SECRET, ""):
            answer = await post(gateway, other, raw, signed(raw, secret=secret))
            assert answer == (401, "unauthorized"), other
    assert kept(owner) == ([], [])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"not json", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"a": 1e999}', "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested deeper than 64"),
    ],
)
async def test_what_is_signed_but_no_delivery_is_its_tenants_dead_letter(
    gateway: Gateway, owner: SyncConnection, inbox_id: int, body: bytes, reason: str
) -> None:
    assert await post(gateway, inbox_id, body, signed(body)) == (200, None)
    assert kept(owner) == ([], [("t1", reason, {"webhookId": ID}, body)])
