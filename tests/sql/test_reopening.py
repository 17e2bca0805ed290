"""Where a message goes when its contact's conversation was resolved."""

import psycopg
import pytest

from chatsync.providers.inbound import Call, Item
from conftest import SyncConnection
from sql.story import ANN, Story, at, echoed, forgotten, said, who

HOUR = 3600.0


def resolved(story: Story) -> None:
    story.change_conversations("status = 'RESOLVED'")


def conversations(story: Story) -> list[tuple[object, ...]]:
    return story.rows(
        "select status, unread_count from chatsync.conversations"
        " where merged_into is null order by conversation_id"
    )


@pytest.mark.parametrize(
    ("hours", "after", "expected"),
    [
        (24, 24 * HOUR, [("OPEN", 2)]),
        (24, 24 * HOUR + 1, [("RESOLVED", 1), ("OPEN", 1)]),
        (24, -HOUR, [("OPEN", 2)]),
        (1, HOUR + 1, [("RESOLVED", 1), ("OPEN", 1)]),
        (0, 0.0, [("RESOLVED", 1), ("OPEN", 1)]),
    ],
)
def test_a_message_reopens_a_resolved_conversation_within_the_inboxs_hours(
    undone_worker: SyncConnection, hours: int, after: float, expected: list[tuple[str, int]]
) -> None:
    with forgotten(undone_worker) as story:
        assert story.value("select chatsync.set_reopen_hours(%s, %s)", story.inbox_id, hours)
        story.tell(said("m1"))
        resolved(story)
        events = story.tell(said("m2", second=after))

        assert conversations(story) == expected
        if len(expected) == 1:
            assert [kind for kind, _ in events] == ["message:new", "conversation:updated"]
            assert events[1][1]["updates"]["status"] == "OPEN"
            assert events[1][1]["updates"]["unreadCount"] == 2
        else:
            assert [kind for kind, _ in events] == ["conversation:new", "message:new"]


def test_an_inbox_reopens_for_a_day_unless_it_is_told_otherwise(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        assert story.value("select reopen_hours from chatsync.inboxes") == 24
        assert not story.value("select chatsync.set_reopen_hours(%s, 1)", story.inbox_id + 1)
        with pytest.raises(psycopg.errors.CheckViolation):
            story.value("select chatsync.set_reopen_hours(%s, -1)", story.inbox_id)


def test_a_reopened_conversation_keeps_its_assignee_who_is_told(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("m1"))
        story.change_conversations("status = 'RESOLVED', assignee_id = 'u7'")
        (_, (_, told)) = story.tell(said("m2", second=1), said("m3", second=2))[1:]
        assert told["updates"]["assigneeId"] == "u7"
        assert (
            story.value("select count(*) from chatsync.outbox where 'user:u7' = any (topics)") == 3
        )


QUIET: list[Item] = [
    said("m2", second=1, origin="history"),
    echoed("m2", second=1),
    echoed("m2", second=1, origin="history"),
    said("m2", second=1, type="SYSTEM"),
    Call("m2", ANN, "INBOUND", "ended", at(1)),
]
QUIET_IDS = ["history", "echo", "history of ours", "system", "call"]


@pytest.mark.parametrize("item", QUIET, ids=QUIET_IDS)
def test_what_is_no_live_message_goes_into_the_last_conversation_and_leaves_it_resolved(
    undone_worker: SyncConnection, item: Item
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("m0", second=-200 * HOUR))
        resolved(story)
        story.tell(said("m1"))
        resolved(story)
        events = story.tell(item)
        assert [kind for kind, _ in events] == ["message:new", "conversation:updated"]
        assert "status" not in events[1][1]["updates"]
        assert conversations(story) == [("RESOLVED", 1), ("RESOLVED", 1)]
        assert story.value(
            "select conversation_id = (select max(conversation_id) from chatsync.conversations)"
            " from chatsync.messages order by message_id desc limit 1"
        )


@pytest.mark.parametrize(
    ("item", "status"),
    list(zip(QUIET, ["RESOLVED", "OPEN", "RESOLVED", "RESOLVED", "RESOLVED"], strict=True)),
    ids=QUIET_IDS,
)
def test_what_is_no_live_message_begins_a_conversation_that_only_an_echo_opens(
    undone_worker: SyncConnection, item: Item, status: str
) -> None:
    with forgotten(undone_worker) as story:
        events = story.tell(item)
        assert [kind for kind, _ in events] == ["conversation:new", "message:new"]
        assert conversations(story) == [(status, 0)]


def test_a_live_message_among_history_opens_the_conversation(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        story.tell(
            said("h1", second=-9 * HOUR, origin="history"),
            said("m1"),
            echoed("h2", second=-8 * HOUR, origin="history"),
        )
        assert conversations(story) == [("OPEN", 1)]


def test_history_that_comes_after_goes_into_the_open_conversation(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("m1"))
        story.tell(said("h1", second=-HOUR, origin="history"))
        assert conversations(story) == [("OPEN", 1)]
        assert story.value("select count(*) from chatsync.messages") == 2


def test_after_a_merge_the_conversation_that_stayed_is_the_one_to_reopen(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("a", who("phone:1")))
        story.tell(said("b", who("bsuid:B")))
        story.tell(said("c", who("phone:1", "bsuid:B")))
        resolved(story)
        story.tell(said("d", who("phone:1"), second=1))
        assert conversations(story) == [("OPEN", 4)]


def test_of_several_resolved_conversations_the_one_that_was_used_last_is_reopened(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("used last", who("phone:1")))
        story.tell(said("used before", who("bsuid:B"), second=-100 * HOUR))
        resolved(story)
        story.tell(said("c", who("phone:1", "bsuid:B"), second=1))
        assert conversations(story) == [("OPEN", 2), ("RESOLVED", 1)]
