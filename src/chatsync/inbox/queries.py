"""The read side: lists, snapshots and changes, each with the cursor it is true at.

Rows and cursor come from one repeatable-read transaction. Results are JSON text as PostgreSQL made
it: nothing is decoded to be encoded again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from chatsync.database import Connection, Database, Row
from chatsync.errors import NotFound, ResetRequired
from chatsync.model import Claims, Cursor

CHANGES_PER_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """JSON objects, the position after the last of them if there are more, and the cursor."""

    items: list[str]
    following: list[object] | None
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class SyncPage:
    """One page of a snapshot or of changes. `reached` is where the next page begins, if any.

    `read_at` is before the page was read, on the clock that stamps: what is missing was stamped
    after it.
    """

    conversations: list[str]
    messages: list[str]
    contacts: list[str]
    inboxes: list[str] | None
    cursor: Cursor
    reached: int | None
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Filter:
    status: str | None = None
    assignee_id: str | None = None
    inbox_id: int | None = None


async def list_conversations(
    database: Database,
    claims: Claims,
    *,
    limit: int,
    before: Sequence[object] | None,
    wanted: Filter,
    after: Cursor | None,
) -> Page:
    """Conversations, the newest first; `before` is a former page's `following`."""
    async with database.transaction([claims.tenant_id], is_snapshot=True) as connection:
        cursor = await _cursor(connection, claims.tenant_id, after)
        rows = await _rows(
            connection,
            claims,
            [
                limit + 1,
                *(before or (None, None)),
                wanted.status,
                wanted.assignee_id,
                wanted.inbox_id,
            ],
        )
    return _page(rows, limit, cursor)


async def _rows(connection: Connection, claims: Claims, rest: list[object]) -> list[Row]:
    found = await connection.execute(
        "select * from chatsync.list_conversations("
        "%s, %s, %s, %s::timestamptz, %s::bigint, %s, %s, %s::bigint)",
        [claims.tenant_id, Jsonb(claims.document()), *rest],
    )
    return await found.fetchall()


async def get_conversation(
    database: Database, claims: Claims, conversation_id: int
) -> tuple[str, Cursor]:
    """One conversation. Raises NotFound, for one that may not be seen as for an unknown one."""
    async with database.transaction([claims.tenant_id], is_snapshot=True) as connection:
        cursor = await _cursor(connection, claims.tenant_id, None)
        return await _conversation(connection, claims, conversation_id), cursor


async def list_messages(
    database: Database,
    claims: Claims,
    conversation_id: int,
    *,
    limit: int,
    before: Sequence[object] | None,
    after: Cursor | None,
) -> Page:
    """Messages of a conversation, the newest first. Raises NotFound."""
    async with database.transaction([claims.tenant_id], is_snapshot=True) as connection:
        cursor = await _cursor(connection, claims.tenant_id, after)
        await _conversation(connection, claims, conversation_id)
        found = await connection.execute(
            "select * from chatsync.list_messages(%s, %s, %s, %s::timestamptz, %s::bigint)",
            [claims.tenant_id, conversation_id, limit + 1, *(before or (None, None))],
        )
        return _page(await found.fetchall(), limit, cursor)


async def snapshot(
    database: Database,
    claims: Claims,
    *,
    limit: int,
    after_id: int,
    first_cursor: Cursor | None,
    after: Cursor | None,
) -> SyncPage:
    """Conversations after an id, with their last messages and contacts; inboxes on the first page.

    All pages carry the first page's cursor. Raises ResetRequired when `after` is not reached.
    """
    tenant_id = claims.tenant_id
    async with database.transaction([tenant_id], is_snapshot=True) as connection:
        cursor = await _cursor(connection, tenant_id, first_cursor or after)
        found = await connection.execute(
            "select * from chatsync.snapshot_page(%s, %s, %s::bigint, %s)",
            [tenant_id, Jsonb(claims.document()), after_id, limit + 1],
        )
        rows = await found.fetchall()
        read_at = await _began_at(connection)
        inboxes: list[str] | None = None
        if first_cursor is None:
            found = await connection.execute("select * from chatsync.list_inboxes(%s)", [tenant_id])
            inboxes = [row[0] for row in await found.fetchall()]
    has_more, rows = len(rows) > limit, rows[:limit]
    return SyncPage(
        conversations=[row[1] for row in rows],
        messages=[row[3][1:-1] for row in rows if row[3] != "[]"],
        contacts=list(dict.fromkeys(row[2] for row in rows)),
        inboxes=inboxes,
        cursor=first_cursor or cursor,
        reached=rows[-1][0] if has_more else None,
        read_at=read_at,
    )


async def changes(
    database: Database, claims: Claims, *, since: Cursor, upto: int | None, after: Cursor | None
) -> SyncPage:
    """What changed after a cursor, up to the head that the first page saw.

    Raises ResetRequired when the cursor cannot be continued.
    """
    tenant_id = claims.tenant_id
    async with database.transaction([tenant_id], is_snapshot=True) as connection:
        cursor = await _cursor(connection, tenant_id, since)
        if after is not None:
            await _cursor(connection, tenant_id, after)
        top = cursor.seq if upto is None else upto
        found = await connection.execute(
            "select * from chatsync.changes(%s, %s, %s::bigint, %s::bigint, %s)",
            [tenant_id, Jsonb(claims.document()), since.seq, top, CHANGES_PER_PAGE],
        )
        row = await found.fetchone()
        read_at = await _began_at(connection)
    assert row is not None
    reached, conversations, messages, contacts = row
    return SyncPage(
        conversations=_elements(conversations),
        messages=_elements(messages),
        contacts=_elements(contacts),
        inboxes=None,
        cursor=Cursor(cursor.epoch, top),
        reached=reached if reached < top else None,
        read_at=read_at,
    )


async def cursor_before(database: Database, tenant_id: str, moment: datetime) -> Cursor:
    """The last cursor stamped before a moment. Raises ResetRequired when the log is younger."""
    async with database.transaction([tenant_id], is_snapshot=True) as connection:
        cursor = await _cursor(connection, tenant_id, None)
        found = await connection.execute("select chatsync.seq_before(%s, %s)", [tenant_id, moment])
        row = await found.fetchone()
    if row is None or row[0] is None:
        raise ResetRequired("the log no longer reaches back so far", data={"reason": "trimmed"})
    return Cursor(cursor.epoch, row[0])


async def _cursor(connection: Connection, tenant_id: str, usable: Cursor | None) -> Cursor:
    """The tenant's position in this snapshot; checks that `usable` can be continued from here."""
    found = await connection.execute(
        "select epoch, head, trimmed_to from chatsync.stream_positions(%s)", [[tenant_id]]
    )
    row = await found.fetchone()
    if row is None:
        raise NotFound("unknown tenant")
    epoch, head, trimmed_to = row
    reason = None
    if usable is not None and usable.epoch != epoch:
        reason = "epoch"
    elif usable is not None and usable.seq > head:
        reason = "ahead"
    elif usable is not None and usable.seq < trimmed_to:
        reason = "trimmed"
    if reason is not None:
        raise ResetRequired("the cursor cannot be continued", data={"reason": reason})
    return Cursor(epoch, head)


async def _began_at(connection: Connection) -> datetime:
    found = await connection.execute("select transaction_timestamp()")
    row = await found.fetchone()
    assert row is not None
    return row[0]


async def _conversation(connection: Connection, claims: Claims, conversation_id: int) -> str:
    found = await connection.execute(
        "select chatsync.get_conversation(%s, %s, %s)",
        [claims.tenant_id, Jsonb(claims.document()), conversation_id],
    )
    row = await found.fetchone()
    if row is None or row[0] is None:
        raise NotFound("unknown conversation")
    return row[0]


def _page(rows: list[Row], limit: int, cursor: Cursor) -> Page:
    has_more, rows = len(rows) > limit, rows[:limit]
    return Page([row[0] for row in rows], list(rows[-1][1:]) if has_more else None, cursor)


def _elements(array: str) -> list[str]:
    """The inside of a JSON array, as one piece of a longer one."""
    return [] if array == "[]" else [array[1:-1]]
