"""Random histories of two inboxes; after each delivery all that must hold is looked at."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatsync.providers.inbound import Call, Edit, Item, Reaction, ReadByBusiness, Revoke, Status
from conftest import SyncConnection
from sql.inbound_calls import everything
from sql.story import Story, at, check_events, check_rows, forgotten, said, who

NAMES = ["phone:1", "phone:2", "bsuid:A", "lid:L"]
PEOPLE = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True).map(
    lambda names: who(*names)
)
IDS = st.sampled_from([f"m{number}" for number in range(8)])
SECONDS = st.integers(0, 5)


@st.composite
def messages(draw: st.DrawFn) -> Item:
    direction, origin = draw(
        st.sampled_from(
            [("INBOUND", "live")] * 3
            + [("INBOUND", "history"), ("OUTBOUND", "echo"), ("OUTBOUND", "api")]
        )
    )
    return said(
        draw(IDS),
        draw(PEOPLE),
        second=draw(SECONDS),
        direction=direction,
        origin=origin,
        type=draw(st.sampled_from(["TEXT", "TEXT", "SYSTEM"])),
        group=draw(st.sampled_from([None, None, who("group:g")])),
        reply_to=draw(st.none() | IDS),
    )


ITEMS: st.SearchStrategy[Item] = st.one_of(
    messages(),
    messages(),
    st.builds(ReadByBusiness, IDS, SECONDS.map(at)),
    st.builds(Status, IDS, st.sampled_from(["SENT", "READ", "PLAYED", "FAILED"]), SECONDS.map(at)),
    st.builds(Edit, IDS, IDS, st.just("new"), SECONDS.map(at)),
    st.builds(Revoke, IDS, IDS, SECONDS.map(at)),
    st.builds(
        Reaction,
        IDS,
        IDS,
        PEOPLE,
        st.just("INBOUND"),
        st.sampled_from(["👍", None]),
        SECONDS.map(at),
    ),
    st.builds(
        Call,
        IDS,
        PEOPLE,
        st.just("INBOUND"),
        st.sampled_from(["offered", "ended"]),
        SECONDS.map(at),
    ),
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    deliveries=st.lists(
        st.tuples(st.integers(0, 1), st.lists(ITEMS, min_size=1, max_size=4)), max_size=8
    ),
    resolve_after=st.integers(0, 8),
)
def test_counts_and_last_messages_are_right_after_every_delivery(
    undone_worker: SyncConnection,
    deliveries: list[tuple[int, list[Item]]],
    resolve_after: int,
) -> None:
    with forgotten(undone_worker) as story:
        stories = story, story.beside()
        for number, (inbox, items) in enumerate(deliveries):
            stories[inbox].tell(*items)
            if number == resolve_after:
                story.change_conversations("status = 'RESOLVED'")
        before = everything(story.connection)
        for inbox, items in deliveries:
            # What was said earlier and came after the word that it was read is read by it now.
            again = [item for item in items if not isinstance(item, ReadByBusiness)]
            stories[inbox].tell(*again)
        assert everything(story.connection)["messages"] == before["messages"]


BREAKS = [
    "update chatsync.conversations set unread_count = 3",
    "update chatsync.conversations set last_message_id = null",
    "update chatsync.conversations set version = 9",
    "update chatsync.contacts set merged_into = contact_id",
    "delete from chatsync.contact_identities",
    "update chatsync.messages set contact_id = 0",
    "insert into chatsync.outbox (tenant_id, topics, type, data)"
    " select tenant_id, topics, type, data from chatsync.outbox",
]


@pytest.mark.parametrize("harm", BREAKS)
def test_the_look_at_the_rows_notices_what_must_not_be(
    undone_worker: SyncConnection, harm: str
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("m"))
        check_rows(story.connection)
        story.connection.execute(harm.encode())
        with pytest.raises(AssertionError):
            check_rows(story.connection)


@pytest.mark.parametrize(
    "data",
    [
        {"conversationId": 7, "message": {"id": "1"}},
        {"conversationId": "7", "message": {"id": 1}},
        {"conversationId": "7", "message": {"id": "1", "contact": {"id": 1}}},
        {"conversationId": "7", "message": {"id": "1", "replyTo": 3}},
    ],
)
def test_the_look_at_events_notices_a_number_for_an_id(data: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check_events([("message:new", data)])


def test_the_look_at_events_notices_a_conversation_that_is_told_twice() -> None:
    update = ("conversation:updated", {"conversationId": "7", "conversation": {"id": "7"}})
    check_events([update])
    with pytest.raises(AssertionError):
        check_events([update, update])


def test_stories_of_two_inboxes_are_of_one_tenant(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        other: Story = story.beside()
        story.tell(said("m"))
        other.tell(said("m"))
        assert story.value("select count(*) from chatsync.contacts") == 1
        assert story.value("select count(*) from chatsync.conversations") == 2
