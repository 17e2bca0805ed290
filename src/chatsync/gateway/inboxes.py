"""Which inbox a delivery is for, and the secret that proves it. Remembers answers for seconds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from chatsync.database import Database

# A rotated secret or a new inbox is to work within seconds.
REMEMBER_SECONDS = 5.0
MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Inbox:
    inbox_id: int
    tenant_id: str
    external_id: str
    account_id: str | None
    app_secrets: tuple[str, ...]


class InboxDirectory:
    """Finds inboxes of one provider by external id, or by account where that names a single one."""

    def __init__(self, database: Database, provider: str) -> None:
        self._database = database
        self._provider = provider
        self._remembered: dict[tuple[str | None, str | None], tuple[float, Inbox]] = {}

    async def find(
        self, names: Sequence[tuple[str | None, str | None]]
    ) -> dict[tuple[str | None, str | None], Inbox]:
        """The inboxes of (external id, account id) pairs. Raises DatabaseUnavailable."""
        now = time.monotonic()
        found = {
            name: entry[1]
            for name in names
            if (entry := self._remembered.get(name)) and entry[0] > now
        }
        missing = [name for name in names if name not in found]
        if missing:
            looked_up = await self._look_up(missing)
            if len(self._remembered) + len(looked_up) > MAX_REMEMBERED:
                self._remembered.clear()
            for name, inbox in looked_up.items():
                self._remembered[name] = (now + REMEMBER_SECONDS, inbox)
            found |= looked_up
        return found

    async def _look_up(
        self, names: Sequence[tuple[str | None, str | None]]
    ) -> dict[tuple[str | None, str | None], Inbox]:
        external_ids = [external_id for external_id, _ in names if external_id]
        account_ids = [
            account_id for external_id, account_id in names if account_id and not external_id
        ]
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "select * from chatsync.resolve_inboxes(%s, %s, %s)",
                [self._provider, external_ids, account_ids],
            )
            inboxes = [
                Inbox(inbox_id, tenant_id, external_id, account_id, _split(app_secret))
                async for inbox_id, tenant_id, external_id, account_id, app_secret, _ in cursor
            ]
        found: dict[tuple[str | None, str | None], Inbox] = {}
        for external_id, account_id in names:
            matches = [
                inbox
                for inbox in inboxes
                if (
                    inbox.external_id == external_id
                    if external_id
                    else inbox.account_id == account_id
                )
            ]
            # Several numbers of one account: a notice for the account belongs to the first of them.
            if matches:
                found[external_id, account_id] = matches[0]
        return found


def _split(secrets: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (secrets or "").split(",") if part.strip())
