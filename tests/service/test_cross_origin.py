"""Pages of other origins: those that are named may read the API, and nobody else's may."""

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from service.harness import Gateway, token
from service.streams import asking, stream, ticket

pytestmark = pytest.mark.usefixtures("clean_logs")

ORIGIN = "https://app.example"
EVIL = "https://app.example.evil"


async def ask(gateway: Gateway, path: str, origin: str, **headers: str) -> httpx2.Response:
    sent = {"Authorization": f"Bearer {token()}", "Origin": origin, **headers}
    return await gateway.http.get(path, headers=sent)


async def preflight(
    gateway: Gateway, origin: str, method: str = "POST", headers: str = "authorization"
) -> httpx2.Response:
    return await gateway.http.request(
        "OPTIONS",
        "/api/ticket",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )


async def test_a_page_of_an_allowed_origin_may_read_answers_and_errors(gateway: Gateway) -> None:
    for path, status in (
        ("/api/conversations", 200),
        ("/api/conversations/0", 404),
        ("/api/sync?limit=0", 422),
        ("/api/nothing", 404),
        ("/api/events?token=x", 400),
    ):
        answer = await ask(gateway, path, ORIGIN)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "Origin" in answer.headers["vary"]
        shown = answer.headers["access-control-expose-headers"].lower()
        assert {"x-correlation-id", "retry-after"} <= set(shown.split(", "))
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", [EVIL, "null", "*", "http://app.example"])
async def test_no_other_page_may(gateway: Gateway, origin: str) -> None:
    answer = await ask(gateway, "/api/conversations", origin)
    assert "access-control-allow-origin" not in answer.headers
    refused = await preflight(gateway, origin)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "access-control-allow-origin" not in refused.headers
    async with asking(gateway, headers={"Origin": origin}) as listener:
        assert "access-control-allow-origin" not in listener.headers


async def test_a_preflight_is_answered_without_a_token(gateway: Gateway) -> None:
    answer = await preflight(gateway, ORIGIN, headers="authorization,content-type,last-event-id")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "x-correlation-id" in answer.headers
    for method, headers in (("DELETE", "authorization"), ("POST", "x-surprise")):
        refused = await preflight(gateway, ORIGIN, method, headers)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")


async def test_an_event_source_of_an_allowed_origin_hears_events(gateway: Gateway) -> None:
    given = await ticket(gateway)
    async with stream(
        gateway, is_anonymous=True, headers={"Origin": ORIGIN}, ticket=given
    ) as listener:
        assert (await listener.next())["type"] == "connected"
        assert listener.headers["access-control-allow-origin"] == ORIGIN
        assert "origin" in listener.headers["vary"]
    # A browser gives up on 401 alone when it can read it.
    async with asking(
        gateway, is_anonymous=True, headers={"Origin": ORIGIN}, ticket=given
    ) as spent:
        assert spent.status == 401
        assert spent.headers["access-control-allow-origin"] == ORIGIN


async def test_what_no_page_asks_for_says_nothing_of_origins(gateway: Gateway) -> None:
    for path in ("/livez", "/metrics", "/debug/sessions"):
        assert "access-control-allow-origin" not in (await ask(gateway, path, ORIGIN)).headers


@pytest.mark.parametrize(
    ("path", "origin", "status", "code"),
    [("/ws", EVIL, 403, "forbidden"), ("/ws?token=abc", ORIGIN, 400, "token_in_url")],
)
async def test_a_refused_upgrade_says_why(
    gateway: Gateway, path: str, origin: str, status: int, code: str
) -> None:
    address = gateway.ws.removesuffix("/ws") + path
    headers = {"X-Correlation-Id": "c-1"}
    with pytest.raises(InvalidStatus) as refused:
        async with connect(address, origin=origin, additional_headers=headers):  # pyright: ignore
            pass
    response = refused.value.response
    assert response.status_code == status
    assert response.headers["content-type"].startswith("application/problem+json")
    assert f'"code": "{code}"' in response.body.decode()
    assert response.headers["x-correlation-id"] == "c-1"
