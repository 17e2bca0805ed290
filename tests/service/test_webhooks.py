"""What a webhook gets back, and what is kept of it (protocol §5)."""

import json

import pytest

from conftest import SyncConnection
from service.harness import VERIFY_TOKEN, Gateway, create_inbox, token
from service.payloads import delivery, echoed, said


async def test_the_verify_token_answers_the_challenge(gateway: Gateway) -> None:
    query = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": "<b>1"}
    good = await gateway.http.get("/webhooks/whatsapp", params=query)
    assert (good.status_code, good.text) == (200, "<b>1")
    assert good.headers["content-type"].startswith("text/plain")
    for change in ({"hub.verify_token": "wrong"}, {"hub.mode": "x"}, {"hub.verify_token": "ä"}):
        bad = await gateway.http.get("/webhooks/whatsapp", params=query | change)
        assert bad.status_code == 403


@pytest.mark.parametrize(
    "signature",
    [None, "", "sha1=a", "sha256=", "sha256=" + "0" * 64, "sha256=" + "A" * 64, "sha256=xyz", "ü"],
)
async def test_a_wrong_signature_is_refused_and_nothing_is_kept(
    gateway: Gateway, owner: SyncConnection, signature: str | None
) -> None:
    body = json.dumps(delivery(said("forged", "w1"))).encode()
    headers = [] if signature is None else [(b"X-Hub-Signature-256", signature.encode())]
    answer = await gateway.http.post("/webhooks/whatsapp", content=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert _kept(owner) == (0, 0)


@pytest.mark.parametrize(
    "body",
    [b"not json", b"[]", b"{}", b'{"entry": []}', b"{" * 100, b'{"a": NaN}', b"\xff\xfe", b"null"],
)
async def test_a_signed_body_that_nobody_can_use_is_a_dead_letter(
    gateway: Gateway, owner: SyncConnection, body: bytes
) -> None:
    assert (await gateway.post(body)).status_code == 200
    rows = owner.execute("select tenant_id, payload from chatsync.failed_messages").fetchall()
    assert rows == [("_unrouted", body)]


async def test_an_unsigned_body_that_nobody_can_use_is_not_kept(
    gateway: Gateway, owner: SyncConnection
) -> None:
    assert (await gateway.post(b"not json", secret=None)).status_code == 401
    assert _kept(owner) == (0, 0)


async def test_a_webhook_for_a_full_queue_is_to_come_again(
    gateway: Gateway, owner: SyncConnection
) -> None:
    owner.execute("select chatsync.limit_depth('inbound', 1), chatsync.pause('inbound')")
    assert (await gateway.post(delivery(said("first", "w1")))).status_code == 200
    # What was counted is a second old.
    owner.execute("update chatsync.queue_limits set counted_at = null")

    answer = await gateway.post(delivery(said("one too many", "w2")))

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert _kept(owner) == (1, 0)


async def test_a_delivery_for_nobody_is_a_dead_letter(
    gateway: Gateway, owner: SyncConnection
) -> None:
    assert (await gateway.post(delivery(said("hi", "w1"), number="777"))).status_code == 200
    row = owner.execute(
        "select tenant_id, error_message, summary #>> '{entry,0,id}' from chatsync.failed_messages"
    ).fetchone()
    assert row == ("_unrouted", "nobody owns this number", "900")


async def test_a_tenants_own_secret_opens_no_other_inbox(
    gateway: Gateway, owner: SyncConnection, database_url: str
) -> None:
    create_inbox(database_url, tenant="t2", number="200", secret="secret-of-t2")
    body = delivery(echoed("mine", "w1"), number="200")
    body["entry"] += delivery(said("forged", "w2"))["entry"]
    async with gateway.session(token(tenant="t2")) as second:
        assert (await gateway.post(body, secret="secret-of-t2")).status_code == 200
        await second.events(2)
    alone = await gateway.post(delivery(said("forged", "w3")), secret="secret-of-t2")

    assert alone.status_code == 401
    rows = owner.execute("select tenant_id, error_message from chatsync.failed_messages").fetchall()
    assert rows == [("_unrouted", "signed for another inbox")]
    assert owner.execute("select tenant_id from chatsync.messages").fetchall() == [("t2",)]


async def test_a_body_over_the_limit_is_refused_unread(
    gateway: Gateway, owner: SyncConnection
) -> None:
    answer = await gateway.post(b"x" * (4 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    just_fits = delivery(said("y" * 4_000_000, "w1"))
    assert (await gateway.post(just_fits)).status_code == 200
    assert _kept(owner)[1] == 0


def _kept(owner: SyncConnection) -> tuple[object, ...]:
    row = owner.execute(
        "select (select count(*) from chatsync.messages)"
        " + (select count(*) from chatsync.message_queue),"
        " (select count(*) from chatsync.failed_messages)"
    ).fetchone()
    assert row is not None
    return row
