"""Contacts that turn out to be one: one contact, one open conversation, nothing lost, all told."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatsync.providers.inbound import ContactChange, Item, Message
from conftest import SyncConnection
from sql.story import Story, at, echoed, forgotten, of_type, said, who

PHONE, BSUID, PARENT = "phone:5511", "bsuid:BR.1", "parent_bsuid:BR.ENT.1"
WAYS: dict[str, Message] = {
    "bsuid": said("bsuid", who(BSUID), second=1),
    "both": said("both", who(PHONE, BSUID), second=2),
    "phone": said("phone", who(PHONE), second=3),
    "echo": echoed("echo", who(PHONE), second=4),
    "parent": said("parent", who(PARENT, BSUID), second=5),
}


def test_all_orders_of_the_names_of_a_person_end_in_one_contact_and_one_conversation(
    undone_worker: SyncConnection,
) -> None:
    for order in permutations(WAYS):
        with forgotten(undone_worker) as story:
            events = story.tell_each([WAYS[way]] for way in order)
            check_one(story)
            check_told(story, events)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_several_names_in_one_delivery_end_in_one_contact(
    undone_worker: SyncConnection, size: int
) -> None:
    for order in permutations(WAYS):
        with forgotten(undone_worker) as story:
            told = [WAYS[way] for way in order]
            story.tell(*told[:size])
            story.tell(*told[size:])
            check_one(story)


def check_one(story: Story) -> None:
    assert story.rows("select phone_number from chatsync.contacts where merged_into is null") == [
        ("5511",)
    ]
    assert story.rows(
        "select i.kind from chatsync.contact_identities i"
        " join chatsync.contacts c using (contact_id) where c.merged_into is null order by 1"
    ) == [("bsuid",), ("parent_bsuid",), ("phone",)]
    assert story.value("select count(*) from chatsync.contact_identities") == 3
    (conversation,) = story.rows(
        "select conversation_id, unread_count, contact_id from chatsync.conversations"
        " where status = 'OPEN'"
    )
    assert conversation[1] == 4
    assert conversation[0] == story.value("select min(conversation_id) from chatsync.conversations")
    assert conversation[2] == story.value("select min(contact_id) from chatsync.contacts")
    assert story.rows(
        "select content, conversation_id, contact_id from chatsync.messages order by sent_at"
    ) == [(one.content, conversation[0], conversation[2]) for one in WAYS.values()]


def check_told(story: Story, events: list[tuple[str, dict[str, Any]]]) -> None:
    """A client that applied all events knows what there is."""
    merged = {
        (data["conversationId"], data["intoId"]) for data in of_type(events, "conversation:merged")
    }
    assert merged == set(
        story.rows(
            "select conversation_id::text, merged_into::text from chatsync.conversations"
            " where merged_into is not null"
        )
    )
    contacts: dict[str, dict[str, Any]] = {}
    for data in of_type(events, "contact:updated"):
        contacts[data["contact"]["id"]] = data["contact"]
    stored = dict(story.rows("select contact_id::text, contact from chatsync.wire_contacts"))
    assert {key: stored[key] for key in contacts} == contacts
    gone = {key for key, contact in stored.items() if "mergedInto" in contact}
    assert gone <= set(contacts)
    # Each conversation that a merge changed is shown as it is now.
    shown = {
        data["conversation"]["id"]: data["conversation"]
        for kind, data in events
        if kind in ("conversation:new", "conversation:updated")
    }
    for one, into in merged:
        assert shown[one]["status"] == "RESOLVED"
        assert shown[one]["mergedInto"] == into
        assert shown[one]["unreadCount"] == 0


def test_a_merge_is_told_once_with_what_it_changed(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("a", who(PHONE, name="Ann"), second=1))
        story.tell(said("b", who(BSUID), second=2))
        events = story.tell(said("c", who(PHONE, BSUID), second=3))

        first, second = (
            row[0]
            for row in story.rows(
                "select conversation_id::text from chatsync.conversations order by 1"
            )
        )
        assert [kind for kind, _ in events] == [
            "conversation:merged",
            "message:new",
            "conversation:updated",
            "conversation:updated",
            "contact:updated",
            "contact:updated",
        ]
        assert events[0][1] == {"conversationId": second, "intoId": first}
        updates = {data["conversationId"]: data for data in of_type(events, "conversation:updated")}
        assert updates[first]["updates"]["unreadCount"] == 3
        assert updates[first]["updates"]["lastMessage"]["content"] == "c"
        assert updates[first]["updates"]["status"] == "OPEN"
        assert updates[second]["updates"]["unreadCount"] == 0
        assert updates[second]["updates"]["lastMessage"] is None
        assert updates[second]["updates"]["status"] == "RESOLVED"
        assert updates[second]["updates"]["mergedInto"] == first
        kept, gone = (data["contact"] for data in of_type(events, "contact:updated"))
        assert gone["mergedInto"] == kept["id"]
        assert gone["identities"] == []
        assert kept["name"] == "Ann"
        assert [one["kind"] for one in kept["identities"]] == ["bsuid", "phone"]
        topics = story.value(
            "select topics from chatsync.outbox where type = 'conversation:merged'"
        )
        assert topics == ["tenant:t1", f"conversation:{second}", f"conversation:{first}"]


def test_a_merge_takes_the_conversations_of_other_inboxes_and_the_assignee_along(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        other = story.beside()
        story.tell(said("a", who(PHONE)))
        story.tell(said("b", who(BSUID)))
        other.tell(said("c", who(BSUID)))
        story.change_conversations(
            "assignee_id = case when conversation_id = (select conversation_id"
            " from chatsync.messages where content = 'b') then 'u7' end"
        )
        events = story.tell(said("d", who(PHONE, BSUID)))

        assert story.rows(
            "select inbox_id, status, assignee_id, unread_count from chatsync.conversations"
            " where merged_into is null order by conversation_id"
        ) == [(story.inbox_id, "OPEN", "u7", 3), (other.inbox_id, "OPEN", None, 1)]
        assert story.value("select count(distinct contact_id) from chatsync.conversations") == 1
        updates = {
            data["conversation"]["inboxId"]: data["updates"]
            for data in of_type(events, "conversation:updated")
            if "mergedInto" not in data["updates"]
        }
        assert updates[str(story.inbox_id)]["assigneeId"] == "u7"
        assert updates[str(other.inbox_id)]["contact"]["phoneNumber"] == "5511"


def test_a_merge_without_a_message_is_told_as_well(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("a", who(PHONE)))
        story.tell(said("b", who(BSUID)))
        events = story.tell(ContactChange(who(PHONE, BSUID), at(9)))

        assert [kind for kind, _ in events] == [
            "conversation:merged",
            "conversation:updated",
            "conversation:updated",
            "contact:updated",
            "contact:updated",
        ]


def test_resolved_conversations_of_a_merged_contact_are_the_others(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("a", who(PHONE), second=1))
        story.change_conversations("status = 'RESOLVED'")
        story.tell(said("b", who(BSUID), second=2))
        story.tell(said("c", who(PHONE, BSUID), second=3))

        assert story.rows(
            "select m.content, v.status, v.merged_into is null from chatsync.messages m"
            " join chatsync.conversations v using (conversation_id) order by m.sent_at"
        ) == [("a", "RESOLVED", True), ("b", "OPEN", True), ("c", "OPEN", True)]
        assert story.value("select count(distinct contact_id) from chatsync.conversations") == 1


def test_what_a_merged_contact_wrote_in_a_group_is_shown_as_the_others(
    undone_worker: SyncConnection,
) -> None:
    group = who("group:g")
    with forgotten(undone_worker) as story:
        story.tell(said("a", who(PHONE, name="Ann"), second=1))
        story.tell(said("b", who(BSUID), second=2, group=group))
        story.tell(said("c", who(PHONE, BSUID), second=3, group=group))

        assert (
            story.rows("select message -> 'contact' ->> 'name' from chatsync.wire_messages")
            == [("Ann",)] * 3
        )


def test_what_was_merged_into_one_that_is_merged_leads_to_the_last(
    undone_worker: SyncConnection,
) -> None:
    group = who("group:g")
    with forgotten(undone_worker) as story:
        story.tell(said("a", who("phone:1", name="Ann")))
        story.tell(said("b", who("bsuid:B")))
        story.tell(said("c", who("lid:L")), said("d", who("lid:L"), group=group))
        story.tell(said("e", who("bsuid:B", "lid:L")))
        events = story.tell(said("f", who("phone:1", "bsuid:B")))

        assert story.value("select count(distinct merged_into) from chatsync.contacts") == 1
        assert story.rows(
            "select distinct message -> 'contact' ->> 'name' from chatsync.wire_messages"
        ) == [("Ann",)]
        assert len(of_type(events, "contact:updated")) == 2


def test_keys_that_share_a_contact_may_merge_it_with_others_in_one_delivery(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("x", who("phone:1")))
        story.tell(said("y", who("bsuid:B", "lid:L")))
        story.tell(said("z", who("phone:2")))
        # No name stands in both, but they are about the same contact.
        story.tell(said("p", who("phone:1", "bsuid:B")), said("q", who("lid:L", "phone:2")))

        assert story.value("select count(*) from chatsync.contacts where merged_into is null") == 1
        assert story.rows(
            "select status, unread_count from chatsync.conversations where merged_into is null"
        ) == [("OPEN", 5)]


def test_keys_that_share_a_contact_each_bring_their_news(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("x", who("phone:1", "bsuid:B")))
        story.tell(
            said("p", who("phone:1", name="Ann", profile={"username": "ann"}), second=1),
            said("q", who("bsuid:B", "lid:L", name="Anna"), second=2),
        )
        assert story.rows(
            "select name, profile -> 'username' ->> 'value' from chatsync.contacts"
        ) == [("Anna", "ann")]
        assert story.value("select count(*) from chatsync.contact_identities") == 3


NAMES = ["phone:1", "phone:2", "bsuid:A", "bsuid:B", "lid:L", "parent_bsuid:P"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    deliveries=st.lists(
        st.lists(
            st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
        max_size=6,
    ),
    chance=st.randoms(use_true_random=False),
)
def test_whoever_shares_a_name_is_one_contact_and_nobody_else_is(
    undone_worker: SyncConnection, deliveries: list[list[list[str]]], chance: Any
) -> None:
    with forgotten(undone_worker) as story:
        groups: list[set[str]] = []
        number = 0
        for delivery in deliveries:
            items: list[Item] = []
            for names in delivery:
                number += 1
                joined = set(names).union(*(one for one in groups if one & set(names)))
                groups = [one for one in groups if not one & joined] + [joined]
                items.append(said(f"m{number}", who(*names), second=chance.randint(0, 9)))
            story.tell(*items)
        found: dict[int, set[str]] = {}
        for contact, name in story.rows(
            "select contact_id, kind || ':' || value from chatsync.contact_identities"
        ):
            found.setdefault(contact, set()).add(name)
        assert sorted(map(sorted, found.values())) == sorted(map(sorted, groups))
        assert story.value("select count(*) from chatsync.messages") == number
        assert story.value(
            "select count(*) from chatsync.conversations where status = 'OPEN'"
        ) == len(groups)
        assert story.value("select sum(unread_count) from chatsync.conversations") == number
