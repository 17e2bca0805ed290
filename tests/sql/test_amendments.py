"""Edits, deletions, reactions, calls, late content: in any order, however often, at any time."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatsync.providers.inbound import Call, Contact, Edit, Item, Reaction, Revoke, Status
from conftest import SyncConnection
from sql.inbound_calls import everything
from sql.story import ANN, Story, at, echoed, forgotten, of_type, said, who
from sql.test_status_orders import cut

BOB = who("phone:2", name="Bob")
EVE = who("lid:33", name="Eve")
GROUP = who("group:g", name="Choir")

orders = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def edit(number: int, *, second: float, of: str = "m", **metadata: Any) -> Edit:
    return Edit(f"edit {number}", of, f"text {number}", at(second), metadata)


def reaction(
    number: int, emoji: str | None, by: Contact | None, *, second: float, in_group: bool = False
) -> Reaction:
    direction = "OUTBOUND" if by is None else "INBOUND"
    return Reaction(f"reaction {number}", "m", by, direction, emoji, at(second), in_group=in_group)


def step(name: str, *, second: float, **details: Any) -> Call:
    return Call("call", ANN, "INBOUND", name, at(second), details)  # pyright: ignore[reportArgumentType]


def state(story: Story) -> list[tuple[Any, ...]]:
    """What is to see of the messages, whatever way they took."""
    return story.rows(
        "select message -> 'type', message -> 'content', message -> 'metadata', message -> 'status'"
        " from chatsync.wire_messages order by message ->> 'providerMessageId'"
    )


def replay_later(story: Story, items: Sequence[Item]) -> None:
    """Apply everything again, days later, alone and together: nothing changes."""
    before = everything(story.connection)
    story.connection.execute("set chatsync.now = '2026-01-07 03:00:00Z'")
    assert story.tell(*items) == []
    assert story.tell(*reversed(items)) == []
    for item in items:
        assert story.tell(item) == []
    story.connection.execute("reset chatsync.now")
    assert everything(story.connection) == before


IN_A_CHAT: list[Item] = [
    said("m"),
    edit(1, second=10, mentions=["1"]),
    edit(2, second=20, mentions=["2"]),
    reaction(1, "👍", ANN, second=12),
    reaction(2, "🎉", ANN, second=14),
    reaction(3, "👀", None, second=13),
    Revoke("revoke", "m", at(30)),
]
IN_A_GROUP: list[Item] = [
    said("m", BOB, group=GROUP),
    edit(1, second=10),
    reaction(1, "👍", BOB, second=12, in_group=True),
    reaction(2, "👎", EVE, second=11, in_group=True),
    reaction(3, None, BOB, second=15, in_group=True),
    reaction(4, "❤", EVE, second=16, in_group=True),
    reaction(5, "🙏", None, second=17, in_group=True),
]
LATE_CONTENT: list[Item] = [
    said("m", origin="history", type="IMAGE", content=None, is_placeholder=True),
    said("m", origin="history", type="IMAGE", content="Cat", metadata={"media": {"id": "7"}}),
    edit(1, second=10),
    reaction(1, "👍", ANN, second=12),
    Revoke("revoke", "m", at(30)),
]
OF_OURS: list[Item] = [
    echoed("m"),
    edit(1, second=10),
    reaction(1, "👍", ANN, second=12),
    Status("m", "PLAYED", at(20)),
    Status("m", "DELIVERED", at(5)),
]


@pytest.mark.parametrize(
    "items", [IN_A_CHAT, IN_A_GROUP, LATE_CONTENT, OF_OURS], ids=["chat", "group", "late", "ours"]
)
@orders
@given(data=st.data())
def test_any_order_of_a_message_and_what_amends_it_ends_in_one_state(
    undone_worker: SyncConnection, items: list[Item], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(items))
    repeated = data.draw(st.lists(st.sampled_from(order), max_size=3))
    cuts = data.draw(st.sets(st.integers(1, len(items) + 3)))
    with forgotten(undone_worker) as story:
        story.tell_each([item] for item in items)
        expected = state(story)
    with forgotten(undone_worker) as story:
        story.tell_each(cut([*order, *repeated], cuts))

        assert state(story) == expected
        assert story.value("select count(*) from chatsync.orphans") == 0
        replay_later(story, order)


def test_what_amends_a_message_in_a_chat_is_shown(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        events = story.tell_each([item] for item in IN_A_CHAT)

        assert state(story) == [
            (
                "TEXT",
                "text 2",
                {
                    "mentions": ["2"],
                    "editedAt": "2026-01-01T12:00:20.000Z",
                    "deletedAt": "2026-01-01T12:00:30.000Z",
                    "reactions": [
                        {"by": "business", "emoji": "👀", "timestamp": "2026-01-01T12:00:13.000Z"},
                        {"by": "contact", "emoji": "🎉", "timestamp": "2026-01-01T12:00:14.000Z"},
                    ],
                },
                "DELIVERED",
            )
        ]
        told = of_type(events, "message:updated")
        assert [data["message"]["version"] for data in told] == [2, 3, 4, 5, 6, 7]
        assert told[-1]["message"]["metadata"] == state(story)[0][2]
        assert told[-1]["conversationId"] == told[-1]["message"]["conversationId"]


def test_each_member_of_a_group_has_one_reaction(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        story.tell_each([item] for item in IN_A_GROUP)

        ((_, _, metadata, _),) = state(story)
        assert [(one["by"], one["emoji"]) for one in metadata["reactions"]] == [
            ("33", "❤"),
            ("business", "🙏"),
        ]


def test_content_that_comes_late_replaces_its_placeholder_once(
    undone_worker: SyncConnection,
) -> None:
    placeholder, content, *_ = LATE_CONTENT
    with forgotten(undone_worker) as story:
        story.tell(placeholder)
        (event,) = story.tell(content)
        assert event[0] == "message:updated"
        assert event[1]["message"]["content"] == "Cat"
        assert event[1]["message"]["metadata"] == {"media": {"id": "7"}}
        assert story.tell(placeholder, replace(content, content="Dog")) == []


@pytest.mark.parametrize("is_known", [True, False])
def test_of_edits_in_one_second_the_later_to_come_stays_however_often_they_come_again(
    undone_worker: SyncConnection, is_known: bool
) -> None:
    first, second = edit(1, second=10), edit(2, second=10)
    for deliveries in ([[first], [second]], [[first, second]], [[first, second, first]]):
        with forgotten(undone_worker) as story:
            if is_known:
                story.tell(said("m"))
            story.tell_each(deliveries)
            if not is_known:
                story.tell(said("m"), first)

            assert story.value("select content from chatsync.messages") == "text 2"
            replay_later(story, [said("m"), first, second])


def test_an_item_is_remembered_under_the_day_of_its_own_time(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("m"), edit(1, second=10))
        story.tell(edit(2, second=-13 * 3600))
        assert story.rows(
            "select item_key, item_day::text from chatsync.processed_items order by item_key"
        ) == [("edit:edit 1", "2026-01-01"), ("edit:edit 2", "2025-12-31")]


def test_ids_of_items_are_of_their_kind_and_their_inbox(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        other = story.beside()
        for one in (story, other):
            one.tell(said("m"))
            one.tell(Edit("same", "m", "new", at(1)), Revoke("same", "m", at(2)))
        assert (
            story.value(
                "select count(*) from chatsync.messages"
                " where content = 'new' and metadata ?& array['editedAt', 'deletedAt']"
            )
            == 2
        )


STEPS = [
    step("offered", second=0, isVideo=True, status="offer"),
    step("ringing", second=1, status="ringing"),
    step("accepted", second=2, status="accept"),
    step("ended", second=9, status="terminate", seconds=7),
]


def test_any_order_of_the_steps_of_a_call_is_one_entry_of_one_end(
    undone_worker: SyncConnection,
) -> None:
    for number, order in enumerate(permutations(STEPS)):
        with forgotten(undone_worker) as story:
            events = story.tell_each(cut(order, {1, 2, 3} if number % 2 else {2}))

            assert state(story) == [
                (
                    "SYSTEM",
                    None,
                    {
                        "call": {
                            "step": "ended",
                            "status": "terminate",
                            "isVideo": True,
                            "seconds": 7,
                        }
                    },
                    "READ",
                )
            ]
            assert len(of_type(events, "message:new")) == 1
            assert story.rows("select unread_count, status from chatsync.conversations") == [
                (0, "RESOLVED")
            ]
            replay_later(story, order)


def test_an_amendment_waits_for_the_message_of_its_own_inbox(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        other = story.beside()
        assert story.tell(edit(1, second=10)) == []
        other.tell(said("m"))
        assert story.value("select count(*) from chatsync.orphans") == 1
        story.tell(said("m", second=1))
        assert story.rows("select content from chatsync.messages order by sent_at") == [
            ("m",),
            ("text 1",),
        ]


def test_what_was_left_waiting_for_a_message_that_is_known_is_joined(
    undone_worker: SyncConnection,
) -> None:
    # Two workers on one inbox, after a lost lease: neither saw what the other had not committed.
    with forgotten(undone_worker) as story:
        story.tell(edit(2, second=10), edit(1, second=9), Status("m", "READ", at(3)))
        story.connection.execute(
            "create temporary table kept on commit drop as select * from chatsync.orphans"
        )
        story.connection.execute("delete from chatsync.orphans")
        story.tell(echoed("m"))
        story.connection.execute("insert into chatsync.orphans select * from kept")

        assert story.value("select chatsync.join_orphans()") == 3
        assert story.value("select chatsync.join_orphans()") == 0
        assert state(story) == [
            ("TEXT", "text 2", {"editedAt": "2026-01-01T12:00:10.000Z"}, "READ")
        ]
        assert story.value("select count(*) from chatsync.orphans") == 0
        story.connection.execute("drop table kept")
