"""The endpoint /webhooks/whatsapp: one delivery may be for several inboxes."""

import hmac
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from chatsync.database import Database
from chatsync.errors import Forbidden, Unauthorized
from chatsync.gateway.http.webhooks.adoption import Adopt, accept_unproven
from chatsync.gateway.http.webhooks.dead_letters import reject
from chatsync.gateway.http.webhooks.receiving import Incoming
from chatsync.gateway.inboxes import Inbox, InboxDirectory
from chatsync.providers import whatsapp_cloud
from chatsync.providers.body import BodyError, parse_json
from chatsync.providers.whatsapp_cloud import Part
from chatsync.queue.enqueue import Delivery, Intake
from chatsync.settings import Settings

_REFUSAL = "the signature is missing or wrong"


class WhatsAppWebhook:
    """Meta's verification, and deliveries signed with an app secret."""

    provider = whatsapp_cloud.NAME

    def __init__(
        self, settings: Settings, database: Database, intake: Intake, adopt: Adopt | None = None
    ) -> None:
        self.most_bytes = settings.webhook_bytes
        self._verify_token = settings.whatsapp_verify_token
        self._app_secrets = settings.app_secrets
        self._database = database
        self._intake = intake
        self._adopt = adopt
        self._inboxes = InboxDirectory(database, whatsapp_cloud.NAME)

    async def verify(self, request: Request) -> Response:
        """Answer Meta's challenge when it knows our verify token."""
        query = request.query_params
        secret = self._verify_token
        given = query.get("hub.verify_token", "")
        if (
            secret is None
            or not secret.get_secret_value()
            or query.get("hub.mode") != "subscribe"
            or not hmac.compare_digest(given.encode(), secret.get_secret_value().encode())
        ):
            raise Forbidden("the verify token is wrong")
        return PlainTextResponse(query.get("hub.challenge", ""))

    async def take(self, incoming: Incoming) -> None:
        """Enqueue a delivery, by inbox."""
        raw, correlation_id = incoming.raw, incoming.correlation_id
        signature = incoming.header(b"x-hub-signature-256")
        fits_all = self._fits_all(signature, incoming)
        try:
            delivery = parse_json(raw)
        except BodyError as error:
            if not fits_all:
                raise Unauthorized(_REFUSAL) from error
            await reject(self._database, correlation_id, raw, str(error))
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
                accepted.append(Delivery(inbox.inbox_id, correlation_id, kept))
            else:
                rejected.append((part, "signed for another inbox"))
        if not accepted and not fits_all:
            raise Unauthorized(_REFUSAL)
        for part, reason in rejected:
            kept = raw if len(parts) == 1 else part.body()
            summary = {"entry": part.entries}
            await reject(self._database, correlation_id, kept, reason, summary=summary)
        if accepted:
            await self._intake.add(accepted)

    def _fits_all(self, signature: str | None, incoming: Incoming) -> bool:
        """Whether the signature holds for every inbox."""
        if signature is None:
            return accept_unproven(self._adopt, incoming.correlation_id)
        return whatsapp_cloud.signature_fits(signature, incoming.raw, self._app_secrets)

    async def _find(self, parts: Sequence[Part]) -> list[Inbox | None]:
        names = [(part.phone_number_id, part.account_id) for part in parts]
        found = await self._inboxes.find(names)
        unknown = [name[0] for name in names if name not in found and name[0]]
        if unknown and self._adopt is not None:
            for number in unknown:
                await self._adopt(whatsapp_cloud.NAME, number)
            found = await self._inboxes.find(names)
        return [found.get(name) for name in names]
