"""Who a token says its holder is. Tokens are made by hand: nothing corrects them on the way."""

import json
import time
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from chatsync.errors import ConfigError, TokenExpired, Unauthorized
from chatsync.gateway.auth import LEEWAY_SECONDS, Authenticator, NotYetValid, bearer, mint
from chatsync.model import Claims
from chatsync.settings import load
from unit.tokens import HS256, SECRET, claims_of, payload, refusal, signed


async def test_a_token_names_its_tenant_user_role_and_end():
    ends = int(time.time()) + 600
    token = signed(payload(exp=ends, role="supervisor", name="Ana"))
    assert await claims_of(token) == Claims("t1", "u1", "supervisor", "Ana", float(ends))


async def test_a_minted_token_is_read_back():
    token = mint(SECRET, tenant_id="t", user_id="u", role="admin", ttl_seconds=60, name="é")
    claims = await claims_of(token)
    assert (claims.tenant_id, claims.user_id, claims.role, claims.name) == ("t", "u", "admin", "é")
    assert 55 < claims.expires_at - time.time() <= 60


async def test_a_token_without_a_role_is_an_agents():
    assert (await claims_of(signed(payload(role=...)))).role == "agent"


async def test_a_name_of_the_wrong_kind_is_no_name():
    for name in (None, 5, ["Ana"], {}, True):
        assert (await claims_of(signed(payload(name=name)))).name is None


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a", "a.b", "a.b.c", "a.b.c.d", "é.é.é", "\ud800.a.b", "eyJ" * 5000, "\0"],
    ids=lambda token: ascii(token[:12]),
)
async def test_what_is_no_token_is_unauthorized(token: str):
    assert type(await refusal(token)) is Unauthorized


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "hs256"},
        {"alg": "HS384"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"alg": "EdDSA"},
        {"alg": ["HS256"]},
        {"alg": {}},
        {"alg": None},
        {"alg": 1},
        {},
        [],
        None,
        "HS256",
        b"",
        b"{",
        b"[" * 5000,
        {**HS256, "crit": ["exp"], "exp": 1},
        {**HS256, "crit": ["b64"], "b64": False},
        {**HS256, "kid": 5},
    ],
    ids=lambda header: ascii(header)[-44:],
)
async def test_only_the_pinned_algorithm_and_a_plain_header_are_taken(header: object):
    assert type(await refusal(signed(payload(), header))) is Unauthorized


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_another_algorithm_of_the_same_secret_is_not_taken(algorithm: str):
    token = jwt.encode(payload(), SECRET * 2, algorithm=algorithm)
    with pytest.raises(Unauthorized):
        await Authenticator(load(jwt_secret=SecretStr(SECRET * 2))).claims(token)


@pytest.mark.parametrize("signature", ["", "AAAA", "=", "!"])
async def test_a_token_without_a_fitting_signature_is_unauthorized(signature: str):
    token = signed(payload()).rpartition(".")[0]
    assert type(await refusal(f"{token}.{signature}")) is Unauthorized


async def test_a_token_with_one_changed_letter_is_unauthorized():
    token = signed(payload())
    for at in range(0, len(token), 17):
        if token[at] != ".":
            changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
            assert type(await refusal(changed)) is Unauthorized


async def test_a_token_of_another_secret_is_unauthorized():
    assert type(await refusal(signed(payload(), secret=SECRET + "x"))) is Unauthorized
    assert type(await refusal(signed(payload(), secret=""))) is Unauthorized


@pytest.mark.parametrize("missing", ["exp", "sub", "tenant"])
@pytest.mark.parametrize("value", [..., None], ids=["absent", "null"])
async def test_a_token_without_a_required_claim_is_unauthorized(missing: str, value: object):
    assert type(await refusal(signed(payload(**{missing: value})))) is Unauthorized


WRONG: list[tuple[str, object]] = [
    *(("tenant", value) for value in (5, True, [], ["t1"], {}, "", " ", "a,b", "a b", "é", "a\n")),
    *(
        ("tenant", value)
        for value in ("x" * 64, "-a", ".a", "a/b", "t1:x", "t1\x00", "*", "\u0661")
    ),
    *(("sub", value) for value in (5, True, [], {}, "", "a b", "a,b", "a\n", "\x00", "x" * 201)),
    ("sub", "\ud800"),
    *(
        ("role", value)
        for value in (5, True, None, "", "Agent", "root", "agent ", [], ["agent"], {})
    ),
    *(("exp", value) for value in (None, "", "soon", [], {}, [1])),
    *(("nbf", value) for value in ("soon", [], {})),
]


@pytest.mark.parametrize(("claim", "value"), WRONG, ids=lambda value: ascii(value)[:12])
async def test_a_claim_of_the_wrong_kind_is_unauthorized(claim: str, value: object):
    assert type(await refusal(signed(payload(**{claim: value})))) is Unauthorized


@pytest.mark.parametrize("body", [[], None, "x", 5, b"", b"{", b"\xff", b"[" * 5000], ids=ascii)
async def test_a_payload_that_is_no_object_is_unauthorized(body: object):
    assert type(await refusal(signed(body))) is Unauthorized


@pytest.mark.parametrize("tenant", ["demo", "T-1", "a.b_c-d", "0", "_unrouted", "x" * 63])
async def test_tenant_ids_are_what_policies_and_topics_can_hold(tenant: str):
    assert (await claims_of(signed(payload(tenant=tenant)))).tenant_id == tenant


@pytest.mark.parametrize("user", ["1", "ana@example.org", "é", "a:b", "auth0|5f7", "x" * 200])
async def test_user_ids_are_the_issuers_choice(user: str):
    assert (await claims_of(signed(payload(sub=user)))).user_id == user


async def test_an_expired_token_is_told_apart():
    assert type(await refusal(signed(payload(exp=int(time.time()) - 60)))) is TokenExpired
    assert type(await refusal(signed(payload(exp=0)))) is TokenExpired
    assert type(await refusal(signed(payload(exp=-1)))) is TokenExpired


async def test_a_clock_may_differ_by_the_leeway_and_no_more():
    now = int(time.time())
    await claims_of(signed(payload(exp=now - LEEWAY_SECONDS + 2)))
    assert type(await refusal(signed(payload(exp=now - LEEWAY_SECONDS - 1)))) is TokenExpired
    await claims_of(signed(payload(nbf=now + LEEWAY_SECONDS - 1)))
    assert type(await refusal(signed(payload(nbf=now + LEEWAY_SECONDS + 3)))) is NotYetValid


async def test_an_expired_token_of_another_secret_is_not_called_expired():
    token = signed(payload(exp=1), secret="x" * 32)
    assert type(await refusal(token)) is Unauthorized


@pytest.mark.parametrize("end", [True, False])
async def test_a_boolean_is_no_moment_in_this_century(end: bool):
    assert isinstance(await refusal(signed(payload(exp=end))), Unauthorized | TokenExpired)


@pytest.mark.parametrize(
    "literal",
    ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1" + "0" * 400],
    ids=lambda it: it[:9],
)
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
async def test_a_moment_that_is_no_number_is_refused_and_never_a_fault_of_ours(
    claim: str, literal: str
):
    body = json.dumps(payload(**{claim: "@"})).replace('"@"', literal)
    with pytest.raises((Unauthorized, TokenExpired)):
        await claims_of(signed(body.encode()))


@pytest.mark.parametrize("end", [253_402_300_799, 253_402_300_800, 1e15, 1e300, 10**30])
async def test_an_end_beyond_the_calendar_is_the_last_moment_of_it(end: float):
    assert (await claims_of(signed(payload(exp=end)))).expires_at == 253_402_300_799.0


async def test_issuer_and_audience_are_checked_where_they_are_set():
    settings = {"jwt_issuer": "https://issuer", "jwt_audience": "chatsync"}
    good = payload(iss="https://issuer", aud="chatsync")
    await claims_of(signed(good), **settings)
    await claims_of(signed(good | {"aud": ["other", "chatsync"]}), **settings)
    for wrong in (
        payload(),
        good | {"iss": "https://issuer/"},
        good | {"iss": ["https://issuer"]},
        good | {"aud": "other"},
        good | {"aud": []},
        good | {"aud": [5]},
        good | {"aud": {}},
    ):
        assert type(await refusal(signed(wrong), **settings)) is Unauthorized


async def test_an_audience_that_nobody_asked_for_is_ignored():
    await claims_of(signed(payload(aud="elsewhere", iss="somebody")))


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        ({}, "CHATSYNC_JWT_SECRET"),
        ({"jwt_algorithm": "RS256"}, "CHATSYNC_JWT_PUBLIC_KEY"),
        ({"jwt_algorithm": "EdDSA", "jwt_secret": SecretStr(SECRET)}, "CHATSYNC_JWKS_URL"),
    ],
    ids=["nothing", "no public key", "a secret for EdDSA"],
)
def test_a_missing_key_is_named_before_anything_starts(settings: dict[str, Any], variable: str):
    with pytest.raises(ConfigError, match=variable):
        Authenticator(load(**settings))


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"Bearer abc", "abc"),
        (b"bearer abc", "abc"),
        (b"BEARER  abc ", "abc"),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Basic abc", None),
        (b"abc", None),
        (b"", None),
        (b"Bearer \xff", "\xff"),
    ],
)
def test_only_a_bearer_header_carries_a_token(header: bytes, token: str | None):
    assert bearer({"headers": [(b"host", b"x"), (b"authorization", header)]}) == token


def test_without_a_header_there_is_no_token():
    assert bearer({"headers": [(b"cookie", b"token=abc")]}) is None
