"""Who is calling: JSON Web Tokens with one pinned algorithm (protocol §1; RFC 8725 §3.1)."""

import asyncio
import re
import time
from typing import Any
from urllib.parse import unquote_plus

import jwt
from starlette.types import Scope

from chatsync.errors import ConfigError, TokenExpired, Unauthorized, Unavailable
from chatsync.model import Claims
from chatsync.settings import Settings

LEEWAY_SECONDS = 5  # Two clocks that NTP keeps differ by less.
LAST_MOMENT = 253_402_300_799.0  # The last second that a four-digit year can name.
ROLES = frozenset({"agent", "supervisor", "admin", "service"})
# Row-level policies join tenant ids with commas; topics and lanes use the other signs.
_TENANT_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", re.ASCII)
_USER_ID = re.compile(r"[^\x00-\x20,\x7f\ud800-\udfff]{1,200}")
# A JWT's header is a JSON object, hence its first letters.
_TOKEN_LIKE = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
_TOKEN_NAMES = frozenset({"token", "access_token", "jwt"})


class NotYetValid(Unauthorized):
    """The token's `nbf` lies ahead: the only refusal that time alone mends."""


class Authenticator:
    """Checks tokens against the configured key."""

    def __init__(self, settings: Settings) -> None:
        self._algorithm = settings.jwt_algorithm
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._jwks = (
            None if settings.jwks_url is None else jwt.PyJWKClient(settings.jwks_url, timeout=5)
        )
        self._key: str | None = settings.jwt_public_key
        if self._algorithm == "HS256":
            if settings.jwt_secret is None:
                raise ConfigError("CHATSYNC_JWT_SECRET is not set")
            self._key = settings.jwt_secret.get_secret_value()
        elif self._key is None and self._jwks is None:
            raise ConfigError(
                f"{self._algorithm} needs CHATSYNC_JWT_PUBLIC_KEY or CHATSYNC_JWKS_URL"
            )

    async def claims(self, token: str) -> Claims:
        """Verify a token. Raises TokenExpired, NotYetValid, Unauthorized, Unavailable."""
        try:
            payload: dict[str, Any] = jwt.decode(
                token,
                await self._key_of(token),
                algorithms=[self._algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={
                    "require": ["exp", "sub", "tenant"],
                    "verify_aud": self._audience is not None,
                },
            )
            return _claims(payload)
        except jwt.ExpiredSignatureError as error:
            raise TokenExpired("the token has expired") from error
        except jwt.ImmatureSignatureError as error:
            raise NotYetValid("the token is not valid yet") from error
        except (jwt.PyJWTError, ValueError, OverflowError, TypeError) as error:
            raise Unauthorized("the token is not valid") from error

    async def _key_of(self, token: str) -> Any:
        if self._algorithm == "HS256" or self._jwks is None:
            return self._key
        try:
            return (await asyncio.to_thread(self._jwks.get_signing_key_from_jwt, token)).key
        except jwt.PyJWKClientConnectionError as error:
            raise Unavailable("the keys cannot be fetched", retry_after_ms=5000) from error


def _claims(payload: dict[str, Any]) -> Claims:
    tenant, user, role = payload["tenant"], payload["sub"], payload.get("role", "agent")
    name = payload.get("name")
    if not (isinstance(tenant, str) and _TENANT_ID.fullmatch(tenant)):
        raise Unauthorized("the token is not valid")
    if not (isinstance(user, str) and _USER_ID.fullmatch(user)):
        raise Unauthorized("the token is not valid")
    if not (isinstance(role, str) and role in ROLES):
        raise Unauthorized("the token is not valid")
    expires_at = min(float(payload["exp"]), LAST_MOMENT)
    return Claims(tenant, user, role, name if isinstance(name, str) else None, expires_at)


def ends_at(claims: Claims, now: float) -> float:
    """When a token ends on a monotonic clock that shows `now`."""
    return now + claims.expires_at - time.time()


def mint(
    secret: str,
    *,
    tenant_id: str,
    user_id: str,
    role: str,
    ttl_seconds: int,
    name: str | None = None,
) -> str:
    """An HS256 token, for the command line, demos and tests."""
    payload: dict[str, object] = {
        "sub": user_id,
        "tenant": tenant_id,
        "role": role,
        "exp": int(time.time()) + ttl_seconds,
    }
    if name is not None:
        payload["name"] = name
    return jwt.encode(payload, secret, algorithm="HS256")


def has_token_in_url(scope: Scope) -> bool:
    """Whether a request carries in its URL what would end up in logs and histories."""
    query = scope["query_string"].decode("latin-1")
    names = {part.partition("=")[0].lower() for part in re.split("[&;]", unquote_plus(query))}
    if not names.isdisjoint(_TOKEN_NAMES):
        return True
    return any(map(_TOKEN_LIKE.search, (unquote_plus(query), scope["path"])))


def bearer(scope: Scope) -> str | None:
    """The token of an Authorization header, if there is one."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" and token.strip() else None
    return None
