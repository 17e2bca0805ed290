"""What providers say of one inbox, delivery by delivery; what must hold always is checked."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from psycopg.types.json import Jsonb

from chatsync.inbox.documents import InboundItem, fold
from chatsync.providers.inbound import Contact, Identity, Item, Message
from conftest import SyncConnection
from sql.inbound_calls import APPLY, Json, create_inbox
from sql.queue_calls import value

Event: TypeAlias = tuple[str, Json]

BEGAN_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A time by the provider's clock."""
    return BEGAN_AT + timedelta(seconds=seconds)


def who(*names: str, name: str | None = None, **more: Any) -> Contact:
    """A contact; a name reads `kind:value`."""
    identities = tuple(
        Identity("tenant", kind, text)  # pyright: ignore[reportArgumentType]
        for kind, text in (one.split(":") for one in names)
    )
    number = next((one.value for one in identities if one.kind == "phone"), None)
    return replace(Contact(identities, name, number), **more)


ANN = who("phone:1")


def said(name: str, contact: Contact | None = ANN, *, second: float = 0, **more: Any) -> Message:
    """A live text of a contact; its content is its id."""
    message = Message(name, contact, "INBOUND", "TEXT", name, at(second), "live")
    return replace(message, **more)


def echoed(name: str, contact: Contact | None = ANN, *, second: float = 0, **more: Any) -> Message:
    """A text that the business wrote on its phone."""
    return said(name, contact, second=second, **{"direction": "OUTBOUND", "origin": "echo", **more})


class Story:
    """Applies items to an inbox of t1, and checks after each delivery."""

    def __init__(self, connection: SyncConnection, inbox_id: int | None = None) -> None:
        self.connection = connection
        self.inbox_id = create_inbox(connection) if inbox_id is None else inbox_id

    def beside(self, number: str = "200") -> "Story":
        """The same tenant's story of another inbox."""
        return Story(self.connection, create_inbox(self.connection, number))

    def tell(self, *items: Item) -> list[Event]:
        """Apply the items of a delivery; returns its events."""
        last_id = self.value("select coalesce(max(id), 0) from chatsync.outbox")
        self.connection.execute(APPLY, described(self.inbox_id, items))
        events = self._events_after(last_id)
        check_events(events)
        check_rows(self.connection)
        return events

    def tell_each(self, deliveries: Iterable[Sequence[Item]]) -> list[Event]:
        return [event for delivery in deliveries for event in self.tell(*delivery)]

    def change_conversations(self, assignments: str) -> None:
        """What an agent does to all conversations, by the values of columns, and is told of it."""
        self.connection.execute(
            f"update chatsync.conversations set version = version + 1, {assignments}".encode()
        )
        self.connection.execute(
            "insert into chatsync.outbox (tenant_id, topics, type, data)"
            " select tenant_id, array['tenant:t1'], 'conversation:updated',"
            " jsonb_build_object('conversation', conversation) from chatsync.wire_conversations"
        )

    def value(self, query: str, *parameters: object) -> Any:
        return value(self.connection, query, parameters)  # pyright: ignore[reportArgumentType]

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(query.encode(), parameters).fetchall()

    def _events_after(self, last_id: int) -> list[Event]:
        rows = self.rows(
            "select type, data, topics from chatsync.outbox where id > %s order by id", last_id
        )
        assert all("tenant:t1" in topics for *_, topics in rows)
        return [(kind, data) for kind, data, _ in rows]


@contextmanager
def forgotten(connection: SyncConnection) -> Generator[Story]:
    """A story that is undone at its end."""
    with connection.transaction(force_rollback=True):
        yield Story(connection)


def described(inbox_id: int, items: Sequence[Item]) -> list[Jsonb]:
    """The arguments of APPLY."""
    folded = fold([InboundItem("t1", inbox_id, "c", item) for item in items])
    return [Jsonb(folded.contacts), Jsonb(folded.items)]


def of_type(events: Iterable[Event], kind: str) -> list[Json]:
    return [data for name, data in events if name == kind]


def check_events(events: Sequence[Event]) -> None:
    """Hold the events of one transaction against protocol §4."""
    updated = [data["conversationId"] for data in of_type(events, "conversation:updated")]
    made = [data["conversation"]["id"] for data in of_type(events, "conversation:new")]
    changed = [data["contact"]["id"] for data in of_type(events, "contact:updated")]
    assert len({*updated, *made}) == len(updated) + len(made), "a conversation was told twice"
    assert len(set(changed)) == len(changed), "a contact was told twice"
    for _, data in events:
        _check_ids(data)


def _check_ids(data: object) -> None:
    if isinstance(data, list):
        for each in data:
            _check_ids(each)
    if isinstance(data, dict):
        for name, each in data.items():
            if name == "id" or name.endswith(("Id", "Into", "replyTo")):
                assert each is None or isinstance(each, str), (name, each)
            _check_ids(each)


# Each finds what must not be.
_WRONG = {
    "unread is the number of inbound messages that are DELIVERED": """
        select v.conversation_id, v.unread_count
        from chatsync.conversations v
        where v.unread_count <> (
          select count(*) from chatsync.messages m
          where m.conversation_id = v.conversation_id and m.direction = 'INBOUND'
            and m.status = 'DELIVERED')
    """,
    "the last message is the newest by time and position": """
        select v.conversation_id, v.last_message_id
        from chatsync.conversations v
        where v.last_message_id is distinct from (
          select m.message_id from chatsync.messages m
          where m.conversation_id = v.conversation_id
          order by m.sent_at desc, m.position desc limit 1)
    """,
    "a conversation was last touched by its last message": """
        select v.conversation_id, v.last_message_at
        from chatsync.conversations v
        join chatsync.messages m on m.message_id = v.last_message_id
        where v.last_message_at <> m.sent_at
    """,
    "what was merged is resolved and empty": """
        select v.conversation_id
        from chatsync.conversations v
        where v.merged_into is not null and (v.status <> 'RESOLVED' or exists (
          select from chatsync.messages m where m.conversation_id = v.conversation_id))
    """,
    "what was merged owns nothing": """
        select c.contact_id
        from chatsync.contacts c
        where c.merged_into is not null and (
          exists (select from chatsync.conversations v where v.contact_id = c.contact_id)
          or exists (select from chatsync.contact_identities i where i.contact_id = c.contact_id))
    """,
    "what was merged is one step from what stays": """
        select c.contact_id
        from chatsync.contacts c
        join chatsync.contacts k on k.contact_id = c.merged_into
        where k.merged_into is not null
    """,
    "a contact has a name of some kind": """
        select c.contact_id
        from chatsync.contacts c
        where c.merged_into is null and not exists (
          select from chatsync.contact_identities i where i.contact_id = c.contact_id)
    """,
    "outside of groups a message is of the contact of its conversation": """
        select m.message_id
        from chatsync.messages m
        join chatsync.conversations v on v.conversation_id = m.conversation_id
        where m.contact_id <> v.contact_id and not exists (
          select from chatsync.contact_identities i
          where i.contact_id = v.contact_id and i.kind = 'group')
    """,
    "the last event of a conversation shows it as it is": """
        select v.conversation_id, v.version, e.version
        from chatsync.wire_conversations w
        join chatsync.conversations v on v.conversation_id = w.conversation_id
        cross join lateral (
          select data -> 'conversation' as conversation,
            (data -> 'conversation' ->> 'version')::bigint as version
          from chatsync.outbox
          where data -> 'conversation' ->> 'id' = v.conversation_id::text
          order by id desc limit 1) as e
        where e.version <> v.version
          or e.conversation - array['lastMessage', 'contact']
            <> w.conversation - array['lastMessage', 'contact']
    """,
    "versions in events rise": """
        select name, version, earlier
        from (
          select e.name, e.version, lag(e.version) over (partition by e.name order by e.id, e.name)
            as earlier
          from (
            select id, 'conversation ' || (data -> 'conversation' ->> 'id') as name,
              (data -> 'conversation' ->> 'version')::bigint as version
            from chatsync.outbox where data ? 'conversation'
            union all
            select id, 'contact ' || (data -> 'contact' ->> 'id'),
              (data -> 'contact' ->> 'version')::bigint
            from chatsync.outbox where data ? 'contact'
            union all
            select id, 'message ' || (data -> 'message' ->> 'id'),
              (data -> 'message' ->> 'version')::bigint
            from chatsync.outbox where data ? 'message'
            union all
            select id, 'message ' || (data ->> 'messageId'), (data ->> 'version')::bigint
            from chatsync.outbox where data ? 'messageId'
            union all
            select id, 'inbox ' || (data ->> 'inboxId'), (data ->> 'version')::bigint
            from chatsync.outbox where data ? 'inboxId'
          ) as e
        ) as e
        where version <= earlier
    """,
}


_EVERYTHING_WRONG = " union all ".join(
    f"select '{promise}', found::text from ({query}) as found" for promise, query in _WRONG.items()
).encode()


def check_rows(connection: SyncConnection) -> None:
    """Look for what must not be, in all of the database."""
    assert connection.execute(_EVERYTHING_WRONG).fetchall() == []
