"""Where queries read: a replica that has reached what the asker saw, else the primary.

Only the primary judges a cursor, and what a replica cannot answer is asked there.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import psycopg
import structlog

from chatsync.database import Connection, Database
from chatsync.errors import ChatsyncError, DatabaseUnavailable, NotFound, ResetRequired
from chatsync.model import Cursor
from chatsync.telemetry import metrics

# A replica that failed is asked again after this.
SHUN_SECONDS = 5.0

log = structlog.stdlib.get_logger(__name__)

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A transaction that sees everything as of one moment, at the tenant's position `cursor`."""

    connection: Connection
    cursor: Cursor
    trimmed_to: int
    is_replica: bool

    def flaw(self, cursor: Cursor) -> str | None:
        """Why a cursor cannot be continued from here, or None."""
        if cursor.epoch != self.cursor.epoch:
            return "epoch"
        if cursor.seq > self.cursor.seq:
            return "ahead"
        return "trimmed" if cursor.seq < self.trimmed_to else None


class Reads:
    """Asks questions of one tenant, each in a snapshot."""

    def __init__(self, primary: Database, replica: Database | None = None) -> None:
        self._primary = primary
        self._replica = replica
        self._shunned_until = 0.0

    async def open(self) -> None:
        """Connect to the replica; one that is away is asked later. The primary is its owner's."""
        if self._replica is not None:
            await self._replica.open(must_answer=False)

    async def close(self) -> None:
        if self._replica is not None:
            await self._replica.close()

    async def ask(
        self,
        tenant_id: str,
        question: Callable[[Snapshot], Awaitable[_Answer]],
        *,
        usable: Cursor | None = None,
        reached: Cursor | None = None,
    ) -> _Answer:
        """The answer, which is of `reached` or later; `usable` is a cursor that it continues.

        Raises NotFound, ResetRequired when the primary cannot continue one of them, and what the
        question raises. Without `reached` the primary is asked.
        """
        cursors = [cursor for cursor in (usable, reached) if cursor is not None]
        if self._replica is not None and reached is not None:
            try:
                return await self._ask_replica(self._replica, tenant_id, question, cursors)
            except _Unsuited:
                pass
        async with self._primary.transaction([tenant_id], is_snapshot=True) as connection:
            snapshot = await _snapshot(connection, tenant_id, is_replica=False)
            if snapshot is None:
                raise NotFound("unknown tenant")
            for cursor in cursors:
                if reason := snapshot.flaw(cursor):
                    raise ResetRequired("the cursor cannot be continued", data={"reason": reason})
            metrics.READS.labels("primary").inc()
            return await question(snapshot)

    async def _ask_replica(
        self,
        replica: Database,
        tenant_id: str,
        question: Callable[[Snapshot], Awaitable[_Answer]],
        cursors: list[Cursor],
    ) -> _Answer:
        """Raises _Unsuited when the primary has to be asked."""
        if time.monotonic() < self._shunned_until:
            raise _Unsuited
        try:
            async with replica.transaction([tenant_id], is_snapshot=True) as connection:
                snapshot = await _snapshot(connection, tenant_id, is_replica=True)
                if snapshot is None or any(snapshot.flaw(cursor) for cursor in cursors):
                    raise _Unsuited
                answer = await question(snapshot)
        except psycopg.DataError as error:
            # What a caller asks wrongly the primary refuses.
            raise _Unsuited from error
        except (DatabaseUnavailable, psycopg.Error) as error:
            # It is away, was not migrated yet, or ended the query to go on with its replay.
            log.warning("replica_failed", error=repr(error))
            self._shunned_until = time.monotonic() + SHUN_SECONDS
            raise _Unsuited from error
        except ChatsyncError as error:
            # What it does not know may be younger than it.
            raise _Unsuited from error
        metrics.READS.labels("replica").inc()
        return answer


class _Unsuited(Exception):
    """The replica has no answer."""


async def _snapshot(connection: Connection, tenant_id: str, *, is_replica: bool) -> Snapshot | None:
    found = await connection.execute(
        "select epoch, head, trimmed_to from chatsync.stream_positions(%s)", [[tenant_id]]
    )
    row = await found.fetchone()
    if row is None:
        return None
    epoch, head, trimmed_to = row
    return Snapshot(connection, Cursor(epoch, head), trimmed_to, is_replica)
