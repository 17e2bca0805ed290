"""The endpoint /webhooks/standard/{inboxId}: senders that follow Standard Webhooks."""

from collections.abc import Mapping
from datetime import UTC, datetime

from chatsync.database import Database
from chatsync.errors import Unauthorized
from chatsync.gateway.http.webhooks.adoption import Adopt, accept_unproven
from chatsync.gateway.http.webhooks.dead_letters import reject
from chatsync.gateway.http.webhooks.receiving import Incoming
from chatsync.gateway.inboxes import Inbox, InboxDirectory
from chatsync.providers import standard
from chatsync.providers.body import BodyError, clean_text, parse_json
from chatsync.queue.enqueue import Delivery, Intake
from chatsync.settings import Settings

_ID_LENGTH = 200


class StandardWebhook:
    """Deliveries signed with the app secret of the inbox that the path names."""

    provider = standard.NAME

    def __init__(
        self, settings: Settings, database: Database, intake: Intake, adopt: Adopt | None = None
    ) -> None:
        self.most_bytes = settings.webhook_bytes
        self._database = database
        self._intake = intake
        self._adopt = adopt
        self._inboxes = InboxDirectory(database, standard.NAME)

    async def take(self, incoming: Incoming) -> None:
        """Enqueue a delivery, with the sender's id of it."""
        inbox = await self._find(incoming.argument)
        headers = incoming.some_headers("webhook-id", "webhook-timestamp", "webhook-signature")
        if inbox is None or not self._is_proven(incoming, headers, inbox):
            # An unknown inbox and a wrong signature are alike: who cannot sign learns nothing.
            raise Unauthorized("the signature is missing or wrong")
        raw, correlation_id = incoming.raw, incoming.correlation_id
        metadata = _metadata(headers)
        try:
            parse_json(raw)
        except BodyError as error:
            await reject(
                self._database, correlation_id, raw, str(error), inbox=inbox, metadata=metadata
            )
            return
        await self._intake.add([Delivery(inbox.inbox_id, correlation_id, raw, metadata)])

    async def _find(self, text: str) -> Inbox | None:
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            return None
        return await self._inboxes.get(int(text))

    def _is_proven(self, incoming: Incoming, headers: Mapping[str, str], inbox: Inbox) -> bool:
        if "webhook-signature" not in headers:
            return accept_unproven(self._adopt, incoming.correlation_id)
        return standard.signature_fits(headers, incoming.raw, inbox.app_secrets, datetime.now(UTC))


def _metadata(headers: Mapping[str, str]) -> dict[str, object] | None:
    webhook_id = headers.get("webhook-id", "")[:_ID_LENGTH]
    return {"webhookId": clean_text(webhook_id)} if webhook_id else None
