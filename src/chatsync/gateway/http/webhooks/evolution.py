"""The endpoint /webhooks/evolution, with or without the event in the path.

Evolution signs nothing: a delivery proves itself by a secret. Must never store that secret, and
never answer 401 for what could be accepted: Evolution then drops the event for good.
"""

import json

from chatsync.database import Database
from chatsync.errors import Unauthorized
from chatsync.gateway.http.webhooks.adoption import Adopt, accept_unproven
from chatsync.gateway.http.webhooks.dead_letters import reject
from chatsync.gateway.http.webhooks.receiving import Incoming
from chatsync.gateway.inboxes import Inbox, InboxDirectory
from chatsync.providers import evolution
from chatsync.providers.body import BodyError, JsonObject, clean_text, parse_json
from chatsync.queue.enqueue import Delivery, Intake
from chatsync.settings import Settings

# The longest event that Evolution has is a third of this; the rest is somebody's invention.
_EVENT_LENGTH = 100


class EvolutionWebhook:
    """Deliveries of an instance, proven by its inbox's key or by one that holds for all."""

    provider = evolution.NAME

    def __init__(
        self, settings: Settings, database: Database, intake: Intake, adopt: Adopt | None = None
    ) -> None:
        self.most_bytes = settings.evolution_webhook_bytes
        self._keys_of_all = settings.evolution_api_keys
        self._database = database
        self._intake = intake
        self._adopt = adopt
        self._inboxes = InboxDirectory(database, evolution.NAME)

    async def take(self, incoming: Incoming) -> None:
        """Enqueue a delivery, without its secret and with the event of its path."""
        try:
            delivery = parse_json(incoming.raw)
        except BodyError as error:
            self._require(incoming, {}, None)
            await self._reject(incoming, _without(incoming.raw, self._keys_of_all), str(error))
            return
        instance = evolution.instance(delivery)
        inbox = await self._find(instance)
        self._require(incoming, delivery, inbox)
        kept = _kept(incoming.raw, delivery)
        if instance is None and evolution.is_meaningless(delivery, incoming.argument):
            # Such as the server's own errors, which are about no inbox.
            return
        if inbox is None:
            reason = "nobody owns this instance" if instance else "no instance is named"
            await self._reject(incoming, kept, reason)
            return
        await self._intake.add(
            [Delivery(inbox.inbox_id, incoming.correlation_id, kept, _metadata(incoming))]
        )

    async def _find(self, instance: str | None) -> Inbox | None:
        if instance is None:
            return None
        name = (instance, None)
        found = await self._inboxes.find([name])
        if not found and self._adopt is not None:
            await self._adopt(evolution.NAME, instance)
            found = await self._inboxes.find([name])
        return found.get(name)

    def _require(self, incoming: Incoming, delivery: JsonObject, inbox: Inbox | None) -> None:
        headers = incoming.some_headers("apikey", "authorization")
        offered = evolution.secret(delivery, headers)
        known = (*inbox.api_keys, *self._keys_of_all) if inbox else self._keys_of_all
        if not offered and accept_unproven(self._adopt, incoming.correlation_id):
            return
        if not evolution.secret_fits(offered, known):
            raise Unauthorized("the secret is missing or wrong")

    async def _reject(self, incoming: Incoming, body: bytes, reason: str) -> None:
        metadata = _metadata(incoming)
        await reject(self._database, incoming.correlation_id, body, reason, metadata=metadata)


def _metadata(incoming: Incoming) -> dict[str, object] | None:
    event = clean_text(incoming.argument[:_EVENT_LENGTH])
    return {"event": event} if event else None


def _kept(raw: bytes, delivery: JsonObject) -> bytes:
    """The delivery as it came, byte for byte where it holds no secret."""
    redacted = evolution.redacted(delivery)
    return raw if redacted is delivery else json.dumps(redacted, separators=(",", ":")).encode()


def _without(raw: bytes, secrets: tuple[str, ...]) -> bytes:
    """What is no JSON, without the secrets that may stand in it."""
    for secret in secrets:
        raw = raw.replace(secret.encode(), b"...")
    return raw
