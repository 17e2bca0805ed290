"""The read side: lists, snapshots and changes, each with the cursor it is true at.

Rows and cursor come from one repeatable-read transaction; an answer that is to have reached
`after` may come from a replica. Results are JSON text as PostgreSQL made
it: nothing is decoded to be encoded again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from chatsync.database import Connection, Row
from chatsync.errors import NotFound, ResetRequired
from chatsync.inbox.reads import Reads, Snapshot
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
    reads: Reads,
    claims: Claims,
    *,
    limit: int,
    before: Sequence[object] | None,
    wanted: Filter,
    after: Cursor | None,
) -> Page:
    """Conversations, the newest first; `before` is a former page's `following`."""
    place = before or (None, None)

    async def rows(snapshot: Snapshot) -> Page:
        found = await snapshot.connection.execute(
            "select * from chatsync.list_conversations("
            "%s, %s, %s, %s::timestamptz, %s::bigint, %s, %s, %s::bigint)",
            [
                claims.tenant_id,
                Jsonb(claims.document()),
                limit + 1,
                *place,
                wanted.status,
                wanted.assignee_id,
                wanted.inbox_id,
            ],
        )
        return _page(await found.fetchall(), limit, snapshot.cursor)

    return await reads.ask(claims.tenant_id, rows, reached=after)


async def get_conversation(
    reads: Reads, claims: Claims, conversation_id: int
) -> tuple[str, Cursor]:
    """One conversation. Raises NotFound, for one that may not be seen as for an unknown one."""

    async def one(snapshot: Snapshot) -> tuple[str, Cursor]:
        conversation = await _conversation(snapshot.connection, claims, conversation_id)
        return conversation, snapshot.cursor

    return await reads.ask(claims.tenant_id, one)


async def list_messages(
    reads: Reads,
    claims: Claims,
    conversation_id: int,
    *,
    limit: int,
    before: Sequence[object] | None,
    after: Cursor | None,
) -> Page:
    """Messages of a conversation, the newest first. Raises NotFound."""
    place = before or (None, None)

    async def rows(snapshot: Snapshot) -> Page:
        await _conversation(snapshot.connection, claims, conversation_id)
        found = await snapshot.connection.execute(
            "select * from chatsync.list_messages(%s, %s, %s, %s::timestamptz, %s::bigint)",
            [claims.tenant_id, conversation_id, limit + 1, *place],
        )
        return _page(await found.fetchall(), limit, snapshot.cursor)

    return await reads.ask(claims.tenant_id, rows, reached=after)


async def snapshot(
    reads: Reads,
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

    async def page(snapshot: Snapshot) -> SyncPage:
        connection, tenant_id = snapshot.connection, claims.tenant_id
        found = await connection.execute(
            "select * from chatsync.snapshot_page(%s, %s, %s::bigint, %s)",
            [tenant_id, Jsonb(claims.document()), after_id, limit + 1],
        )
        rows = await found.fetchall()
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
            cursor=first_cursor or snapshot.cursor,
            reached=rows[-1][0] if has_more else None,
            read_at=await _read_at(snapshot, tenant_id),
        )

    return await reads.ask(
        claims.tenant_id, page, usable=first_cursor, reached=_later(first_cursor, after)
    )


async def changes(
    reads: Reads, claims: Claims, *, since: Cursor, upto: int | None, after: Cursor | None
) -> SyncPage:
    """What changed after a cursor, up to the head that the first page saw.

    Raises ResetRequired when the cursor cannot be continued.
    """

    async def page(snapshot: Snapshot) -> SyncPage:
        top = snapshot.cursor.seq if upto is None else upto
        found = await snapshot.connection.execute(
            "select * from chatsync.changes(%s, %s, %s::bigint, %s::bigint, %s)",
            [claims.tenant_id, Jsonb(claims.document()), since.seq, top, CHANGES_PER_PAGE],
        )
        row = await found.fetchone()
        assert row is not None
        reached, conversations, messages, contacts = row
        return SyncPage(
            conversations=_elements(conversations),
            messages=_elements(messages),
            contacts=_elements(contacts),
            inboxes=None,
            cursor=Cursor(snapshot.cursor.epoch, top),
            reached=reached if reached < top else None,
            read_at=await _read_at(snapshot, claims.tenant_id),
        )

    first = None if upto is None else Cursor(since.epoch, upto)
    return await reads.ask(claims.tenant_id, page, usable=since, reached=_later(first, after))


async def cursor_before(reads: Reads, tenant_id: str, moment: datetime) -> Cursor:
    """The last cursor stamped before a moment. Raises ResetRequired when the log is younger."""

    async def position(snapshot: Snapshot) -> Cursor:
        found = await snapshot.connection.execute(
            "select chatsync.seq_before(%s, %s)", [tenant_id, moment]
        )
        row = await found.fetchone()
        if row is None or row[0] is None:
            raise ResetRequired("the log no longer reaches back so far", data={"reason": "trimmed"})
        return Cursor(snapshot.cursor.epoch, row[0])

    return await reads.ask(tenant_id, position)


def _later(first: Cursor | None, after: Cursor | None) -> Cursor | None:
    """Of two positions of a log the one that implies the other."""
    if first is None or after is None:
        return first or after
    return first if first.epoch == after.epoch and first.seq > after.seq else after


async def _read_at(snapshot: Snapshot, tenant_id: str) -> datetime:
    """The clock that stamps, before anything was stamped that the snapshot does not show."""
    if snapshot.is_replica:
        found = await snapshot.connection.execute(
            "select stamped_at from chatsync.read_events(%s, %s, 1)",
            [[tenant_id], [snapshot.cursor.seq - 1]],
        )
    else:
        found = await snapshot.connection.execute("select transaction_timestamp()")
    row = await found.fetchone()
    if row is None:
        raise NotFound("a replica without the last event does not know how late it is")
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
