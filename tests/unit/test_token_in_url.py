import pytest

from chatsync.gateway.auth import has_token_in_url, mint

JWT = mint("s" * 32, tenant_id="t1", user_id="u1", role="agent", ttl_seconds=60)


def is_refused(query: str, path: str = "/api/events") -> bool:
    """Whether a request with this query and path is refused; JWT stands for one."""
    raw = query.replace("JWT", JWT).encode("latin-1")
    return has_token_in_url({"query_string": raw, "path": path.replace("JWT", JWT)})


@pytest.mark.parametrize(
    "query",
    [
        "token=JWT",
        "a=1&token=JWT",
        "access_token=JWT",
        "jwt=JWT",
        "q=JWT",
        "ticket=JWT",
        "Token=JWT",
        # Not a JWT, but a name under which people send secrets.
        "token=abc",
        "token=",
        "token",
        "access_token=abc",
    ],
)
def test_a_token_in_the_query_is_refused(query: str):
    assert is_refused(query)


@pytest.mark.parametrize(
    "query",
    ["JWT", "JWT=", "q=Bearer%20JWT", "q=Bearer+JWT", "a=1;q=JWT", "q=%22JWT%22", "a=1&&JWT&b=2"],
)
def test_a_jwt_anywhere_in_the_query_is_refused(query: str):
    # Protocol §1: a JWT in a URL is refused, wherever in it.
    assert is_refused(query)


def test_a_jwt_in_the_path_is_refused():
    assert is_refused("", "/api/conversations/JWT")
    assert not is_refused("", "/api/conversations/7/messages")


def test_a_jwt_is_recognised_in_any_spelling():
    assert is_refused("q=" + JWT.replace(".", "%2E"))
    assert is_refused("q=" + "".join(f"%{ord(letter):02x}" for letter in JWT))
    # A signature may be missing: the claims alone say who somebody is.
    assert is_refused("q=" + JWT.rpartition(".")[0] + ".")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "cursor=e1.5",
        "ticket=abc",
        "page=eyJhIjoxfQ",
        "limit=5&before=2026-01-01T00:00:00.000Z",
        "hub.mode=subscribe&hub.verify_token=abc&hub.challenge=1",
        "mytoken=abc",
        "q=token",
        "%FF=%FF",
        "&&&==",
    ],
)
def test_what_is_no_token_is_let_through(query: str):
    assert not is_refused(query)
