"""What Evolution's webhooks get back, and what is kept of them (protocol §5)."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pydantic import SecretStr

from conftest import SyncConnection
from service.harness import Gateway, create_inbox, running_gateway, settings_for
from service.payloads import Frame

INSTANCE = "shop"
KEY = "key-of-the-instance"
KEY_OF_ALL = "key-of-all-instances"
# The least that the setting may be; a body of so many bytes is quick to send.
LIMIT = 2048


@pytest.fixture
async def gateway(database_url: str) -> AsyncGenerator[Gateway]:
    """A gateway without a worker, so that what was enqueued stays in the queue."""
    create_inbox(database_url, number=INSTANCE, provider="evolution", api_key=KEY)
    create_inbox(database_url, "t2", "other", provider="evolution", api_key="key-of-t2")
    create_inbox(database_url, "t2", "keyless", provider="evolution")
    settings = settings_for(
        database_url,
        evolution_api_key=SecretStr(f"an-older-one, {KEY_OF_ALL}"),
        evolution_webhook_bytes=LIMIT,
    )
    async with running_gateway(settings, with_worker=False) as running:
        yield running


def upsert(instance: str | None = INSTANCE, **more: Any) -> Frame:
    key = {"remoteJid": "15550001@s.whatsapp.net", "fromMe": False, "id": "3EB0"}
    data = {"key": key, "pushName": "Ana", "message": {"conversation": "hi"}}
    body: Frame = {"event": "messages.upsert", "data": data, "server_url": "http://evolution"}
    return body | ({} if instance is None else {"instance": instance}) | more


async def post(
    gateway: Gateway, body: Frame | bytes, path: str = "", **headers: str | bytes
) -> int:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = [
        (name.encode(), v if isinstance(v, bytes) else v.encode()) for name, v in headers.items()
    ]
    answer = await gateway.http.post(f"/webhooks/evolution{path}", content=raw, headers=sent)
    assert answer.headers["x-correlation-id"]
    return answer.status_code


def queued(owner: SyncConnection) -> list[tuple[object, ...]]:
    return owner.execute(
        "select tenant_id, message_type, metadata, body from chatsync.message_queue order by id"
    ).fetchall()


def dead(owner: SyncConnection) -> list[tuple[object, ...]]:
    return owner.execute(
        "select tenant_id, error_message, payload, metadata from chatsync.failed_messages"
        " order by id"
    ).fetchall()


@pytest.mark.parametrize(
    "headers",
    [
        {"apikey": KEY},
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"apikey": KEY_OF_ALL},
        {"apikey": "an-older-one"},
        {"apikey": "wrong", "authorization": f"Bearer {KEY}"},
    ],
)
async def test_a_secret_may_stand_in_either_header(
    gateway: Gateway, owner: SyncConnection, headers: dict[str, str]
) -> None:
    raw = json.dumps(upsert()).encode()
    assert await post(gateway, raw, **headers) == 200
    assert queued(owner) == [("t1", "evolution", {}, raw)]


async def test_a_secret_in_the_body_proves_it_and_is_not_kept(
    gateway: Gateway, owner: SyncConnection
) -> None:
    assert await post(gateway, upsert(apikey=KEY)) == 200
    assert await post(gateway, upsert("unknown", apikey=KEY_OF_ALL)) == 200

    (_, _, _, kept), (_, _, rejected, _) = queued(owner)[0], dead(owner)[0]
    for body in (kept, rejected):
        assert isinstance(body, bytes)
        assert KEY.encode() not in body
        assert KEY_OF_ALL.encode() not in body
        assert json.loads(body)["data"] == upsert()["data"]


@pytest.mark.parametrize(
    ("instance", "headers"),
    [
        (INSTANCE, {}),
        (INSTANCE, {"apikey": ""}),
        (INSTANCE, {"apikey": "wrong"}),
        (INSTANCE, {"apikey": KEY + " x"}),
        (INSTANCE, {"apikey": "ü"}),
        (INSTANCE, {"apikey": "\xff\xfe"}),
        (INSTANCE, {"apikey": "key-of-t2"}),
        (INSTANCE, {"authorization": f"Basic {KEY}"}),
        (INSTANCE, {"authorization": "Bearer"}),
        ("other", {"apikey": KEY}),
        ("keyless", {"apikey": ""}),
        ("keyless", {"apikey": KEY}),
        ("unknown", {"apikey": KEY}),
        ("unknown", {}),
        (None, {"apikey": KEY}),
    ],
)
async def test_a_wrong_secret_is_refused_and_nothing_is_kept(
    gateway: Gateway, owner: SyncConnection, instance: str | None, headers: dict[str, str]
) -> None:
    assert await post(gateway, upsert(instance), **headers) == 401
    assert (queued(owner), dead(owner)) == ([], [])


@pytest.mark.parametrize("secret", [None, 1, True, [KEY], {"key": KEY}, "", "\ud800", "\x00"])
async def test_a_secret_of_the_body_is_a_text_or_nothing(
    gateway: Gateway, owner: SyncConnection, secret: object
) -> None:
    assert await post(gateway, upsert(apikey=secret)) == 401
    assert (queued(owner), dead(owner)) == ([], [])


@pytest.mark.parametrize(
    ("path", "metadata"),
    [
        ("", {}),
        ("/", {}),
        ("/messages-upsert", {"event": "messages-upsert"}),
        ("/MESSAGES_UPSERT", {"event": "MESSAGES_UPSERT"}),
        ("/%00%ff", {"event": "\ufffd\ufffd"}),
        ("/" + "x" * 1000, {"event": "x" * 100}),
    ],
)
async def test_the_event_of_the_path_goes_into_the_queue(
    gateway: Gateway, owner: SyncConnection, path: str, metadata: Frame
) -> None:
    assert await post(gateway, upsert(), path, apikey=KEY) == 200
    assert [row[2] for row in queued(owner)] == [metadata]


@pytest.mark.parametrize(
    ("instance", "reason"),
    [("unknown", "nobody owns this instance"), (None, "no instance is named")],
)
async def test_what_is_genuine_but_nobodys_is_a_dead_letter(
    gateway: Gateway, owner: SyncConnection, instance: str | None, reason: str
) -> None:
    raw = json.dumps(upsert(instance)).encode()
    assert await post(gateway, raw, "/messages-upsert", apikey=KEY_OF_ALL) == 200
    assert dead(owner) == [("_unrouted", reason, raw, {"event": "messages-upsert"})]


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"a":' * 65 + b"1" + b"}" * 65])
async def test_what_is_no_delivery_is_a_dead_letter_if_it_is_genuine(
    gateway: Gateway, owner: SyncConnection, body: bytes
) -> None:
    assert await post(gateway, body, apikey=KEY) == 401
    assert await post(gateway, body, apikey=KEY_OF_ALL) == 200
    assert [row[2] for row in dead(owner)] == [body]


async def test_what_is_no_delivery_is_kept_without_its_secret(
    gateway: Gateway, owner: SyncConnection
) -> None:
    damaged = json.dumps(upsert(apikey=KEY_OF_ALL)).encode()[:-1]
    assert await post(gateway, damaged, authorization=f"Bearer {KEY_OF_ALL}") == 200
    assert [row[2] for row in dead(owner)] == [damaged.replace(KEY_OF_ALL.encode(), b"...")]


async def test_a_body_over_the_limit_of_this_endpoint_is_refused(gateway: Gateway) -> None:
    fits = upsert(filling="")
    fits["filling"] = "x" * (LIMIT - len(json.dumps(fits)))
    assert await post(gateway, fits, apikey=KEY) == 200
    fits["filling"] += "x"
    assert await post(gateway, fits, apikey=KEY) == 413


async def test_only_posts_are_taken(gateway: Gateway) -> None:
    for path in ("/webhooks/evolution", "/webhooks/evolution/call"):
        answer = await gateway.http.get(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    for path in ("/webhooks/evolution/call/again", "/webhooks/unknown", "/webhooks/whatsapp/x"):
        answer = await gateway.http.post(path, content=b"{}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
