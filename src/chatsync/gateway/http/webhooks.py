"""Webhooks: verify, split by inbox, enqueue, commit, answer 200. Nothing is parsed further here.

What a sender gets back is protocol §5: 200 only after the commit, 401 for a wrong signature, 413
over the limit, 503 for trouble of our own.
"""

import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import structlog
from psycopg.types.json import Jsonb
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from chatsync.database import Database
from chatsync.errors import Forbidden, Unauthorized
from chatsync.gateway.http.problems import correlation_id
from chatsync.gateway.http.request import body as read_body
from chatsync.gateway.inboxes import Inbox, InboxDirectory
from chatsync.providers import whatsapp_cloud
from chatsync.providers.body import BodyError, JsonObject, parse_json
from chatsync.providers.whatsapp_cloud import Part
from chatsync.queue.enqueue import Delivery, Intake
from chatsync.settings import Settings
from chatsync.telemetry import metrics

# Makes an inbox for a number that nobody owns. Only `chatsync dev` has one, and where there is one
# a delivery without a signature is accepted.
Adopt: TypeAlias = Callable[[str], Awaitable[None]]

log = structlog.stdlib.get_logger(__name__)


class WhatsAppWebhook:
    """The endpoint /webhooks/whatsapp."""

    def __init__(
        self, settings: Settings, database: Database, intake: Intake, adopt: Adopt | None = None
    ) -> None:
        self._settings = settings
        self._database = database
        self._intake = intake
        self._adopt = adopt
        self._inboxes = InboxDirectory(database, whatsapp_cloud.NAME)

    async def verify(self, request: Request) -> Response:
        """Answer Meta's challenge when it knows our verify token."""
        query = request.query_params
        secret = self._settings.whatsapp_verify_token
        given = query.get("hub.verify_token", "")
        if (
            secret is None
            or not secret.get_secret_value()
            or query.get("hub.mode") != "subscribe"
            or not hmac.compare_digest(given.encode(), secret.get_secret_value().encode())
        ):
            raise Forbidden("the verify token is wrong")
        return PlainTextResponse(query.get("hub.challenge", ""))

    async def receive(self, request: Request) -> Response:
        """Take a delivery."""
        raw = await read_body(request, self._settings.webhook_bytes)
        began = time.monotonic()
        try:
            await self._take(request, raw)
        except Unauthorized:
            metrics.WEBHOOKS.labels(whatsapp_cloud.NAME, "refused").inc()
            raise
        except Exception:
            metrics.WEBHOOKS.labels(whatsapp_cloud.NAME, "unavailable").inc()
            raise
        metrics.WEBHOOKS.labels(whatsapp_cloud.NAME, "accepted").inc()
        metrics.WEBHOOK_SECONDS.observe(time.monotonic() - began)
        return Response(status_code=200)

    async def _take(self, request: Request, raw: bytes) -> None:
        signature = request.headers.get("x-hub-signature-256")
        fits_all = self._fits_all(signature, raw)
        correlation = correlation_id(request)
        try:
            delivery = parse_json(raw)
        except BodyError as error:
            if not fits_all:
                raise Unauthorized("the signature is missing or wrong") from error
            await self._reject(correlation, raw, None, str(error))
            return
        parts = whatsapp_cloud.split(delivery)
        inboxes = await self._find(parts)
        accepted: list[Delivery] = []
        rejected: list[tuple[Part, str]] = []
        for part, inbox in zip(parts, inboxes, strict=True):
            if inbox is None:
                rejected.append((part, "nobody owns this number"))
            elif fits_all or whatsapp_cloud.signature_fits(signature, raw, inbox.app_secrets):
                # A delivery for one inbox is kept byte for byte.
                kept = raw if len(parts) == 1 else part.body()
                accepted.append(Delivery(inbox.inbox_id, correlation, kept))
            else:
                rejected.append((part, "signed for another inbox"))
        if not accepted and not fits_all:
            raise Unauthorized("the signature is missing or wrong")
        for part, reason in rejected:
            kept = raw if len(parts) == 1 else part.body()
            await self._reject(correlation, kept, {"entry": part.entries}, reason)
        if accepted:
            await self._intake.add(accepted)

    def _fits_all(self, signature: str | None, raw: bytes) -> bool:
        """Whether the signature holds for every inbox."""
        if signature is None and self._adopt is not None:
            log.warning("unsigned_webhook_accepted", hint="only `chatsync dev` does this")
            return True
        return whatsapp_cloud.signature_fits(signature, raw, self._settings.app_secrets)

    async def _find(self, parts: Sequence[Part]) -> list[Inbox | None]:
        names = [(part.phone_number_id, part.account_id) for part in parts]
        found = await self._inboxes.find(names)
        unknown = [name[0] for name in names if name not in found and name[0]]
        if unknown and self._adopt is not None:
            for number in unknown:
                await self._adopt(number)
            found = await self._inboxes.find(names)
        return [found.get(name) for name in names]

    async def _reject(
        self, correlation: str, raw: bytes, summary: JsonObject | None, reason: str
    ) -> None:
        log.warning("delivery_rejected", reason=reason)
        await self._database.fetch_value(
            "select chatsync.reject_delivery('_unrouted', null, %s, 'delivery', %b, %s, %s)",
            [correlation, raw, None if summary is None else Jsonb(summary), reason],
        )
