"""Tokens made by hand: nothing corrects them on the way."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from pydantic import SecretStr

from chatsync.errors import RequestError
from chatsync.gateway.auth import Authenticator
from chatsync.model import Claims
from chatsync.settings import load

SECRET = "a-secret-of-the-tests-with-32-bytes!"
HS256 = {"alg": "HS256", "typ": "JWT"}


def encoded(value: object) -> bytes:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def signed(payload: object, header: object = HS256, secret: str = SECRET) -> str:
    """A token whose HMAC fits, whatever it says."""
    body = encoded(header) + b"." + encoded(payload)
    return (body + b"." + encoded(hmac.digest(secret.encode(), body, hashlib.sha256))).decode()


def payload(**changes: object) -> dict[str, object]:
    claims = {"sub": "u1", "tenant": "t1", "role": "agent", "exp": int(time.time()) + 600}
    return {name: value for name, value in (claims | changes).items() if value is not ...}


async def claims_of(token: str, **settings: Any) -> Claims:
    return await Authenticator(load(jwt_secret=SecretStr(SECRET), **settings)).claims(token)


async def refusal(token: str, **settings: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await claims_of(token, **settings)
    # The reason is nobody's business but the log's.
    assert caught.value.message in {
        "the token is not valid",
        "the token has expired",
        "the token is not valid yet",
    }
    return caught.value
