"""Lets pages of the allowed origins read what the API answers (CORS; WHATWG Fetch, "HTTP-CORS").

Whoever is not named gets the answer that everybody gets, without the header for which a browser
would show it to the page. Cookies never authenticate, so that credentials are not allowed.
"""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chatsync.errors import BadRequest, Forbidden
from chatsync.gateway.http.problems import correlated, correlation_id_of, problem

# What a front end asks for; webhooks, health and figures for operators are no page's business.
_PREFIX = "/api/"
_ASKED = ("Authorization", "Last-Event-ID", "X-Correlation-Id")
_SHOWN = ("Retry-After", "X-Correlation-Id")
# An hour: browsers keep an answer for two at most, and the list changes only with a restart.
_MAX_AGE_SECONDS = 3600


class CrossOrigin(CORSMiddleware):
    """Outside of `Problems`, so that a page can read errors as well."""

    def __init__(self, app: ASGIApp, allow_origins: Collection[str]) -> None:
        super().__init__(
            app,
            # Each is named: a star would let every page in.
            allow_origins=frozenset(allow_origins) - {"*"},
            allow_methods=("GET", "POST"),
            allow_headers=_ASKED,
            expose_headers=_SHOWN,
            max_age=_MAX_AGE_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(_PREFIX):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        correlation_id = correlation_id_of({"headers": request_headers.raw})
        response = super().preflight_response(request_headers)
        if not self.is_allowed_origin(request_headers["origin"]):
            response = problem(Forbidden("this origin is not allowed"), correlation_id)
        elif response.status_code != 200:
            response = problem(BadRequest(bytes(response.body).decode()), correlation_id)
        return correlated(response, correlation_id)
