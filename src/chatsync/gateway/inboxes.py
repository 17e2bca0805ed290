"""Which inbox a delivery is for, and the secrets that prove it. Remembers answers for seconds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from chatsync.database import Database, Row

# A rotated secret or a new inbox is to work within seconds.
REMEMBER_SECONDS = 5.0
MAX_REMEMBERED = 10_000

# How a delivery names its inbox: by external id and by account, or by our own id.
Name: TypeAlias = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Inbox:
    inbox_id: int
    tenant_id: str
    external_id: str
    account_id: str | None
    app_secrets: tuple[str, ...] = field(repr=False)
    api_keys: tuple[str, ...] = field(repr=False)


class InboxDirectory:
    """Finds the inboxes of one provider."""

    def __init__(self, database: Database, provider: str) -> None:
        self._database = database
        self._provider = provider
        self._remembered: dict[Name | int, tuple[float, Inbox]] = {}

    async def find(self, names: Sequence[Name]) -> dict[Name, Inbox]:
        """The inboxes of (external id, account id) pairs; the account counts where there is no id.

        Raises DatabaseUnavailable.
        """
        now = time.monotonic()
        found = {
            name: entry[1]
            for name in names
            if (entry := self._remembered.get(name)) and entry[0] > now
        }
        missing = [name for name in names if name not in found]
        if missing:
            looked_up = await self._look_up(missing)
            for name, inbox in looked_up.items():
                self._remember(name, inbox)
            found |= looked_up
        return found

    async def get(self, inbox_id: int) -> Inbox | None:
        """An inbox by its own id. Raises DatabaseUnavailable."""
        entry = self._remembered.get(inbox_id)
        if entry is not None and entry[0] > time.monotonic():
            return entry[1]
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "select * from chatsync.resolve_inbox(%s, %s)", [self._provider, inbox_id]
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        inbox = _inbox(row)
        self._remember(inbox_id, inbox)
        return inbox

    def _remember(self, name: Name | int, inbox: Inbox) -> None:
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[name] = (time.monotonic() + REMEMBER_SECONDS, inbox)

    async def _look_up(self, names: Sequence[Name]) -> dict[Name, Inbox]:
        external_ids = [external_id for external_id, _ in names if external_id]
        account_ids = [
            account_id for external_id, account_id in names if account_id and not external_id
        ]
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "select * from chatsync.resolve_inboxes(%s, %s, %s)",
                [self._provider, external_ids, account_ids],
            )
            inboxes = [_inbox(row) for row in await cursor.fetchall()]
        # Several numbers of one account: a notice for the account belongs to the first of them.
        return {name: inbox for name in names if (inbox := _first(inboxes, name)) is not None}


def _first(inboxes: Sequence[Inbox], name: Name) -> Inbox | None:
    external_id, account_id = name
    if external_id:
        return next((inbox for inbox in inboxes if inbox.external_id == external_id), None)
    # Nobody is named by nothing, though many inboxes have no account.
    return next((inbox for inbox in inboxes if account_id and inbox.account_id == account_id), None)


def _inbox(row: Row) -> Inbox:
    inbox_id, tenant_id, external_id, account_id, app_secret, api_key = row
    return Inbox(inbox_id, tenant_id, external_id, account_id, _split(app_secret), _split(api_key))


def _split(secrets: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (secrets or "").split(",") if part.strip())
