"""Bad tokens, cursors and numbers over HTTP: the declared answer, and no traceback in a log."""

import base64
import json
from typing import Any

import jwt
import pytest

from service.harness import JWT_SECRET, Gateway, create_inbox, token
from service.payloads import delivery, said

pytestmark = pytest.mark.usefixtures("clean_logs")

PATHS = (
    "/api/conversations",
    "/api/conversations/1",
    "/api/conversations/1/messages",
    "/api/sync",
    "/api/events",
)
PAGED = ("/api/conversations", "/api/conversations/1/messages", "/api/sync")
WITH_CURSOR = ("/api/sync", "/api/events")
CLAIMS: dict[str, Any] = {"sub": "u1", "tenant": "t1", "exp": 4_000_000_000}


def _made(secret: str = JWT_SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    given = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(given, secret, algorithm=algorithm)


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


GOOD = _made()
BAD_TOKENS = {
    "none": "",
    "no token": "not-a-token",
    "three dots": "..",
    "truncated": GOOD[:-1],
    "without a signature": GOOD.rpartition(".")[0] + ".",
    "algorithm none": f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(CLAIMS)}.",
    "algorithm none, signed": f"{_part({'alg': 'nOnE'})}.{GOOD.partition('.')[2]}",
    "another algorithm": _made(JWT_SECRET * 2, "HS512"),
    "forged": _made("x" * 32),
    "no tenant": _made(tenant=None),
    "no user": _made(sub=None),
    "no end": _made(exp=None),
    "two tenants": _made(tenant="t1,t2"),
    "a pattern for a tenant": _made(tenant="%"),
    "a list of tenants": _made(tenant=["t1"]),
    "an unknown role": _made(role="owner"),
    "half a surrogate pair": f"{_part({'alg': 'HS256'})}.{_part(CLAIMS | {'sub': chr(0xD800)})}.x",
    "not ASCII": "ü.ü.ü",
    "long": "e" * 10_000,
}


async def ask(gateway: Gateway, path: str, header: str | None, **query: Any) -> tuple[int, str]:
    sent = [] if header is None else [(b"Authorization", header.encode())]
    answer = await gateway.http.get(path, headers=sent, params=query)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code, answer.json()["code"]
    return answer.status_code, ""


async def test_a_token_that_is_none_opens_no_path(gateway: Gateway) -> None:
    headers = {name: f"Bearer {bad}".rstrip() for name, bad in BAD_TOKENS.items()}
    headers |= {"another scheme": f"Basic {GOOD}", "no scheme": GOOD}
    got = {
        (path, name): answer
        for path in PATHS
        for name, header in headers.items()
        if (answer := await ask(gateway, path, header)) != (401, "unauthorized")
    }
    assert got == {}
    for path in PATHS:
        assert await ask(gateway, path, f"Bearer {_made(exp=1)}") == (401, "token_expired")
        assert await ask(gateway, path, f"Bearer {_made(nbf=4e9)}") == (401, "unauthorized")


async def test_a_token_of_another_tenant_shows_nothing_of_this_one(
    gateway: Gateway, database_url: str
) -> None:
    create_inbox(database_url, tenant="t2", number="200")
    async with gateway.session() as agent:
        await gateway.post(delivery(said("private", "w1")))
        await agent.events(2)
    other = token(tenant="t2")
    listed = (await gateway.get("/api/conversations", other)).json()
    snapshot = (await gateway.get("/api/sync", other)).json()
    cursor = (await gateway.get("/api/sync")).json()["cursor"]
    since = await gateway.get("/api/sync", other, since="2020-01-01T00:00:00Z")

    assert listed["items"] == []
    for answer in (snapshot, since.json()):
        assert (answer["conversations"], answer["messages"], answer["contacts"]) == ([], [], [])
    for path in WITH_CURSOR:
        foreign = await gateway.get(path, other, cursor=cursor)
        assert (foreign.status_code, foreign.json()["reason"]) == (410, "epoch")
    for path in ("/api/conversations/1", "/api/conversations/1/messages"):
        assert (await gateway.get(path, other)).status_code == 404
    for topics in ("tenant:t1", "conversation:1", "user:u2", "empresa:t1", "tenant,conversa:1"):
        refused = await gateway.get("/api/events", other, cursor=listed["cursor"], topics=topics)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), topics


async def test_a_number_that_is_none_or_out_of_range_is_invalid(gateway: Gateway) -> None:
    await gateway.post(delivery(said("hi", "w1")))
    bad = [
        "", " ", "NaN", "nan", "Infinity", "-1", "-0", "0", "201", "1e2", "1.0", "+1", " 1", "1 ",
        "1_0", "0x10", "٣", "²", "1,2", "null", "true", "[]", "9" * 12, "9" * 5000, "-" + "9" * 30,
        "\0", "1\0",
    ]  # fmt: skip
    got = {
        (path, name, value): answer
        for path, name in [(path, "limit") for path in PAGED] + [("/api/events", "wait")]
        for value in bad
        if (answer := await ask(gateway, path, f"Bearer {GOOD}", **{name: value}))
        != (422, "invalid")
    }
    # A wait of nothing is a poll, and a minus before it is none.
    assert got == {("/api/events", "wait", value): (200, "") for value in ("0", "-0")}


async def test_a_cursor_is_one_that_was_given_out(gateway: Gateway) -> None:
    epoch, _, _ = (await gateway.get("/api/sync")).json()["cursor"].rpartition(".")
    malformed = [
        "", ".", "x", f"{epoch}", f"{epoch}.", ".1", f"{epoch}.-1", f"{epoch}.+1", f"{epoch}.01",
        f"{epoch}.1.2", f"{epoch}.1e3", f"{epoch}.٣", f"{epoch}.1 ", f" {epoch}.1", f"{epoch}.1\n",
        f"{epoch}.{'9' * 19}", f"{'a' * 65}.1", f"{'a' * 10_000}.1", "ü.1", "\0.1", f"{epoch}.1\0",
    ]  # fmt: skip
    wrong = {(text, 400, "bad_cursor") for text in malformed}
    wrong |= {(f"{'0' * 32}.0", 410, "reset"), (f"{epoch}.{'9' * 18}", 410, "reset")}
    got = {
        (path, text): answer
        for path in WITH_CURSOR
        for text, status, code in wrong
        if (answer := await ask(gateway, path, f"Bearer {GOOD}", cursor=text)) != (status, code)
    }
    assert got == {}


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/api/conversations/%00", {}, (404, "not_found")),
        ("/api/conversations/1%00", {}, (404, "not_found")),
        ("/api/conversations/%ff", {}, (404, "not_found")),
        ("/api/conversations/+1", {}, (404, "not_found")),
        ("/api/conversations/%D9%A3/messages", {}, (404, "not_found")),
        ("/api/conversations/1/messages", {"before": "W10"}, (422, "invalid")),
        ("/api/conversations", {"status": "\0"}, (422, "invalid")),
        ("/api/conversations", {"inboxId": "9" * 30}, (422, "invalid")),
        ("/api/conversations", {"assigneeId": "\0"}, (422, "invalid")),
        ("/api/sync", {"since": "9999-99-99T00:00:00Z"}, (422, "invalid")),
        ("/api/sync", {"since": "\0"}, (422, "invalid")),
        ("/api/sync", {"page": "\0"}, (422, "invalid")),
        ("/api/sync", {"after": "x"}, (400, "bad_cursor")),
        ("/api/events", {"topics": "\0"}, (422, "invalid")),
        ("/api/events", {"topics": "x" * 201}, (403, "forbidden")),
    ],
)
async def test_what_the_database_cannot_hold_does_not_reach_it(
    gateway: Gateway, path: str, query: dict[str, str], expected: tuple[int, str]
) -> None:
    assert await ask(gateway, path, f"Bearer {GOOD}", **query) == expected
