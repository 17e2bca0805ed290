"""The business read on its phone: what it read is read here."""

from itertools import permutations

import pytest

from chatsync.providers.inbound import Item, ReadByBusiness
from conftest import SyncConnection
from sql.inbound_calls import everything
from sql.story import Story, at, echoed, forgotten, of_type, said, who
from sql.test_status_orders import cut


def read(name: str, second: float = 60) -> ReadByBusiness:
    return ReadByBusiness(name, at(second))


def unread(story: Story) -> list[str]:
    return [
        row[0]
        for row in story.rows(
            "select content from chatsync.messages"
            " where direction = 'INBOUND' and status = 'DELIVERED' order by sent_at, position"
        )
    ]


def test_a_message_that_was_read_and_all_before_it_are_read(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        story.tell(*(said(f"m{n}", second=n) for n in range(5)), echoed("e", second=2))
        events = story.tell(read("m2"))

        assert unread(story) == ["m3", "m4"]
        told = of_type(events, "message:status-update")
        assert [(data["status"], data["version"]) for data in told] == [("READ", 2)] * 3
        (updated,) = of_type(events, "conversation:updated")
        assert updated["updates"]["unreadCount"] == 2
        assert updated["updates"]["lastMessage"]["content"] == "m4"
        assert story.value("select status from chatsync.messages where content = 'e'") == "SENT"

        story.tell(read("m4"))
        assert unread(story) == []
        assert story.value("select unread_count from chatsync.conversations") == 0


def test_reading_again_or_what_was_said_earlier_changes_nothing(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(*(said(f"m{n}", second=n) for n in range(3)))
        story.tell(read("m1"))
        before = everything(story.connection)
        for name in ("m1", "m0", "m1"):
            assert story.tell(read(name, 90)) == []
        assert everything(story.connection) == before


@pytest.mark.parametrize("cuts", [set[int](), set(range(9))], ids=["one batch", "one by one"])
def test_messages_and_what_says_that_they_were_read_come_in_any_order(
    undone_worker: SyncConnection, cuts: set[int]
) -> None:
    items: list[Item] = [
        said("m1", second=1),
        said("m2", second=2),
        said("m3", second=3),
        read("m2"),
    ]
    for order in permutations(items):
        with forgotten(undone_worker) as story:
            story.tell_each(cut(order, cuts))
            # What came after the word, though it was said earlier, is not known to be read.
            known = (*order[: order.index(items[3])], items[1])
            is_late = (
                cuts and items[0] not in known and order.index(items[0]) > order.index(items[1])
            )
            assert unread(story) == (["m1", "m3"] if is_late else ["m3"])
            assert story.value("select count(*) from chatsync.orphans") == 0


def test_reading_in_one_conversation_reads_nothing_in_another(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        other = story.beside()
        story.tell(said("a"), said("b", who("phone:2")))
        other.tell(said("c"))
        story.tell(read("a"))
        assert unread(story) == ["b", "c"]


def test_what_the_business_wrote_may_be_named_as_read_up_to(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("a", second=1), echoed("b", second=2), said("c", second=3))
        story.tell(read("b"))
        assert unread(story) == ["c"]


def test_messages_of_one_second_are_read_by_their_order(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        story.tell(*(said(f"m{n}") for n in range(4)))
        story.tell(read("m1"))
        assert unread(story) == ["m2", "m3"]


def test_what_was_read_before_contacts_were_merged_stays_read(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("a", who("phone:1"), second=1), said("b", who("bsuid:B"), second=2))
        story.tell(read("b"))
        story.tell(said("c", who("phone:1", "bsuid:B"), second=3))
        assert unread(story) == ["a", "c"]
        story.tell(read("b"))
        assert unread(story) == ["c"]
