"""Groups: the thread is the group's, each message its author's."""

from chatsync.providers.inbound import Item
from conftest import SyncConnection
from sql.story import echoed, forgotten, of_type, said, who

GROUP = who("group:g", name="Choir")
ANN, BOB = who("phone:1", name="Ann"), who("phone:2", name="Bob")


def test_a_group_is_one_conversation_of_many_authors(undone_worker: SyncConnection) -> None:
    items: list[Item] = [
        said("a", ANN, group=GROUP, second=1),
        said("b", BOB, group=GROUP, second=2),
        echoed("c", None, group=GROUP, second=3),
    ]
    with forgotten(undone_worker) as story:
        (made,) = of_type(events := story.tell(*items), "conversation:new")

        assert made["conversation"]["contact"]["name"] == "Choir"
        assert made["conversation"]["unreadCount"] == 2
        told = of_type(events, "message:new")
        assert [data["message"]["contact"]["name"] for data in told] == ["Ann", "Bob", "Choir"]
        assert {data["conversationId"] for data in told} == {made["conversation"]["id"]}


def test_who_writes_in_a_group_keeps_a_conversation_of_their_own(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("a", ANN), said("b", ANN, group=GROUP))
        assert story.rows(
            "select message -> 'content', conversation -> 'contact' ->> 'name'"
            " from chatsync.wire_messages join chatsync.wire_conversations using (conversation_id)"
            " order by message ->> 'content'"
        ) == [("a", "Ann"), ("b", "Choir")]
        assert story.value("select count(*) from chatsync.contacts") == 2


def test_a_group_may_be_renamed_and_its_authors_merged(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("a", who("lid:L"), group=GROUP, second=1))
        story.tell(said("b", ANN, group=GROUP, second=2))
        events = story.tell(
            said("c", who("lid:L", "phone:1"), group=who("group:g", name="Quartet"), second=3)
        )

        assert [data["contact"]["name"] for data in of_type(events, "contact:updated")] == [
            "Ann",
            "Quartet",
            "Ann",
        ]
        assert story.rows("select status, unread_count from chatsync.conversations") == [
            ("OPEN", 3)
        ]
        assert story.rows(
            "select distinct message -> 'contact' ->> 'name' from chatsync.wire_messages"
        ) == [("Ann",)]
