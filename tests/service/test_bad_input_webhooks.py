"""Bad input on every webhook endpoint: the declared answer each time, and no traceback in a log."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from chatsync.providers import standard, whatsapp_cloud
from conftest import SyncConnection
from service.harness import (
    APP_SECRET,
    Gateway,
    create_inbox,
    running_gateway,
    settings_for,
    wait_for,
)
from service.payloads import delivery, said

KEY = "key-of-the-instance"
# The same for all endpoints, and small, so that a body beyond it is quick to send.
LIMIT = 8192
# Stands in a template for what a test puts there.
HERE = "HERE"

pytestmark = pytest.mark.usefixtures("clean_logs")


@dataclass(frozen=True)
class Sender:
    """A provider: where it posts, a body with a text and a time, and how it proves a body."""

    path: str
    template: str
    prove: Callable[[bytes, str], dict[str, str]]
    secret: str
    secret_of_t2: str

    def body(self, text: str = '"hi"', timestamp: str = "1790000000", number: int = 1) -> bytes:
        """A message, with JSON for its text and its time; `number` makes it another one."""
        filled = self.template.replace(f'"{HERE} text"', text).replace(f'"{HERE} time"', timestamp)
        return filled.replace(f"{HERE} id", f"id{number}").encode("utf-8", "surrogatepass")


def _signed(body: bytes, secret: str) -> dict[str, str]:
    return {"x-hub-signature-256": whatsapp_cloud.sign(body, secret)}


def _keyed(_: bytes, secret: str) -> dict[str, str]:
    return {"apikey": secret}


def _standard(body: bytes, secret: str) -> dict[str, str]:
    now = str(int(time.time()))
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": now,
        "webhook-signature": standard.sign("msg_1", now, body, secret),
    }


def _whatsapp_template() -> str:
    body = delivery(said(f"{HERE} text", f"{HERE} id"))
    body["entry"][0]["changes"][0]["value"]["messages"][0]["timestamp"] = f"{HERE} time"
    return json.dumps(body)


_EVOLUTION = {
    "event": "messages.upsert",
    "instance": "shop",
    "data": {
        "key": {"remoteJid": "15550001@s.whatsapp.net", "fromMe": False, "id": f"{HERE} id"},
        "pushName": "Ana",
        "message": {"conversation": f"{HERE} text"},
        "messageTimestamp": f"{HERE} time",
    },
}
_STANDARD = {
    "type": "message",
    "contact": {"id": "c1", "name": "Ana"},
    "message": {
        "id": f"{HERE} id",
        "type": "text",
        "text": f"{HERE} text",
        "timestamp": f"{HERE} time",
    },
}
SENDERS = {
    "whatsapp": Sender(
        "/webhooks/whatsapp", _whatsapp_template(), _signed, APP_SECRET, "secret-of-t2"
    ),
    "evolution": Sender("/webhooks/evolution", json.dumps(_EVOLUTION), _keyed, KEY, "key-of-t2"),
    "standard": Sender(
        "/webhooks/standard/3", json.dumps(_STANDARD), _standard, "secret-of-t1", "secret-of-t2"
    ),
}


@pytest.fixture
async def gateway(database_url: str) -> AsyncGenerator[Gateway]:
    """A gateway and a worker; inboxes 1 to 3 are t1's, 4 to 6 are t2's, one of each provider."""
    create_inbox(database_url)
    create_inbox(database_url, number="shop", provider="evolution", api_key=KEY)
    assert create_inbox(database_url, "t1", "crm", "secret-of-t1", provider="standard") == 3
    create_inbox(database_url, "t2", "200", "secret-of-t2")
    create_inbox(database_url, "t2", "shop2", provider="evolution", api_key="key-of-t2")
    create_inbox(database_url, "t2", "crm2", "secret-of-t2", provider="standard")
    settings = settings_for(database_url, webhook_bytes=LIMIT, evolution_webhook_bytes=LIMIT)
    async with running_gateway(settings) as running:
        yield running


@pytest.fixture(params=SENDERS)
def sender(request: pytest.FixtureRequest) -> Sender:
    return SENDERS[request.param]


async def post(
    gateway: Gateway, sender: Sender, body: bytes | AsyncIterator[bytes], headers: dict[str, str]
) -> tuple[int, str | None]:
    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = await gateway.http.post(sender.path, content=body, headers=sent)
    return answer.status_code, answer.json()["code"] if answer.content else None


def counts(owner: SyncConnection) -> tuple[object, ...]:
    row = owner.execute(
        "select (select count(*) from chatsync.message_queue),"
        " (select count(*) from chatsync.messages),"
        " (select count(*) from chatsync.failed_messages)"
    ).fetchone()
    assert row is not None
    return row


async def until_processed(owner: SyncConnection) -> tuple[object, ...]:
    """What is kept when the queue is empty: messages and dead letters."""
    await asyncio.to_thread(wait_for, lambda: counts(owner)[0] == 0, "the end of the queue")
    return counts(owner)[1:]


def _mangled(proof: str) -> list[str]:
    """A proof that was cut, grown, changed, doubled, or replaced by what is no proof."""
    return ["", proof[:-1], proof[1:], proof + "0", f"{proof},{proof}", "\xff\xfe", "ü", "null"]


async def test_a_damaged_proof_is_refused_and_nothing_is_kept(
    gateway: Gateway, owner: SyncConnection, sender: Sender
) -> None:
    body = sender.body()
    proof = sender.prove(body, sender.secret)
    damaged = [{}] + [{**proof, name: value} for name in proof for value in _mangled(proof[name])]
    answers = {str(headers): await post(gateway, sender, body, headers) for headers in damaged}

    assert {what: got for what, got in answers.items() if got != (401, "unauthorized")} == {}
    assert await post(gateway, sender, body + b" ", sender.prove(body, "wrong")) == (
        401,
        "unauthorized",
    )
    assert counts(owner) == (0, 0, 0)


async def test_a_proof_of_one_tenant_opens_no_inbox_of_another(
    gateway: Gateway, owner: SyncConnection, sender: Sender
) -> None:
    body = sender.body()
    answer = await post(gateway, sender, body, sender.prove(body, sender.secret_of_t2))
    assert answer == (401, "unauthorized")
    assert counts(owner) == (0, 0, 0)


async def test_text_that_the_database_cannot_hold_is_kept_without_it(
    gateway: Gateway, owner: SyncConnection, sender: Sender
) -> None:
    texts = {
        r"a\u0000b": "a\ufffdb",
        r"a\ud800": "a\ufffd",
        r"\udc00\ud800 b": "\ufffd\ufffd b",
        r"\uD83D x": "\ufffd x",
        r"\ud83d\ude00": "😀",
        "\ufdd0\U0010ffff": "\ufdd0\U0010ffff",
    }
    for number, text in enumerate(texts):
        body = sender.body(f'"{text}"', number=number)
        assert await post(gateway, sender, body, sender.prove(body, sender.secret)) == (200, None)

    assert await until_processed(owner) == (len(texts), 0)
    found = owner.execute("select content from chatsync.messages").fetchall()
    assert {content for (content,) in found} == set(texts.values())


# The text and the time of bodies that are no JSON, or none that a provider could have meant.
NO_DELIVERIES = [
    ("1e999", "1"),
    ("-1e999", "1"),
    ("NaN", "1"),
    ('"hi"', "-Infinity"),
    ('"hi"', "9" * 5000),
    ('"\0"', "1"),
    ('"\n"', "1"),
    ('"\ud800"', "1"),
    ("'hi'", "1"),
    ("[" * 65 + "]" * 65, "1"),
    ('{"a":' * 65 + "1" + "}" * 65, "1"),
]


async def test_what_is_no_delivery_is_a_dead_letter_of_its_bytes_or_not_kept(
    gateway: Gateway, owner: SyncConnection, sender: Sender
) -> None:
    bodies = [sender.body(text, timestamp) for text, timestamp in NO_DELIVERIES]
    bodies += [b"", b"null", b"[]", b'""', b"\xff\xfe{\0}\0", bodies[0][:-1]]
    answers = [
        await post(gateway, sender, body, sender.prove(body, sender.secret)) for body in bodies
    ]

    rows = owner.execute("select payload from chatsync.failed_messages order by id").fetchall()
    if sender is SENDERS["evolution"]:
        # Its secret is the instance's, and no instance can be read.
        assert (set(answers), rows) == ({(401, "unauthorized")}, [])
    else:
        assert (set(answers), [row[0] for row in rows]) == ({(200, None)}, bodies)
    assert counts(owner)[:2] == (0, 0)


LONG = "9" * 30
NO_TIMES = [
    "-1", "0", "1e3", "1.5", "true", "null", "[]", "{}", '""', '"yesterday"', "253402300800",
    LONG, f"-{LONG}", f'"{LONG}"', '"' + LONG * 150 + '"', '"١٢٣"', '"1_790_000_000"',
    '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"', '{"low": 1e308, "high": -1}',
]  # fmt: skip
NO_TEXTS = [
    "null", "1", "-0.0", "true", "[]", "{}", '{"body": null}', '[["a"]]', '""', f'"{LONG * 150}"',
]  # fmt: skip


async def test_a_time_or_text_that_is_none_is_no_fault_of_ours(
    gateway: Gateway, owner: SyncConnection, sender: Sender
) -> None:
    bodies = [sender.body(timestamp=each, number=n) for n, each in enumerate(NO_TIMES)]
    bodies += [sender.body(text=each, number=100 + n) for n, each in enumerate(NO_TEXTS)]
    for body in bodies:
        assert await post(gateway, sender, body, sender.prove(body, sender.secret)) == (200, None)

    await until_processed(owner)
    (others,) = owner.execute(
        "select count(*) from chatsync.messages"
        " where extract(year from sent_at) not between 2000 and 2100"
    ).fetchall()
    assert others == (0,)


async def test_a_body_over_the_limit_is_refused_however_it_comes(
    gateway: Gateway, owner: SyncConnection, sender: Sender
) -> None:
    filling = LIMIT - len(sender.body(text='""'))
    fits, longer = (sender.body(text='"' + "x" * (filling + more) + '"') for more in (0, 1))
    assert len(fits) == LIMIT

    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    for body, expected in ((fits, (200, None)), (longer, (413, "too_large"))):
        proof = sender.prove(body, sender.secret)
        assert await post(gateway, sender, body, proof) == expected
        assert await post(gateway, sender, chunks(body), proof) == expected
    assert await post(gateway, sender, longer, {}) == (413, "too_large")
    assert await until_processed(owner) == (1, 0)


async def test_a_request_that_breaks_off_or_lies_leaves_nothing(
    gateway: Gateway, owner: SyncConnection, sender: Sender
) -> None:
    body = sender.body()
    proof = "".join(f"{name}: {v}\r\n" for name, v in sender.prove(body, sender.secret).items())
    start = f"POST {sender.path} HTTP/1.1\r\nHost: x\r\n{proof}"
    host, port = gateway.address.removeprefix("http://").split(":")
    for rest in (
        f"Content-Length: {len(body)}\r\n\r\nhalf",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 1e3\r\n\r\n",
        f"Content-Length: {'9' * 5000}\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write((start + rest).encode())
        writer.write_eof()
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert answer[9:12] in {b"", b"400", b"413"}, rest
    assert counts(owner) == (0, 0, 0)
    assert await post(gateway, sender, body, sender.prove(body, sender.secret)) == (200, None)
