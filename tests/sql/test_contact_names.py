"""Names, numbers and profiles: the newest word of a contact counts, by the provider's clock."""

from itertools import permutations
from typing import Any

import pytest

from chatsync.providers.inbound import ContactChange, Item
from conftest import SyncConnection
from sql.story import Story, at, echoed, forgotten, of_type, said, who
from sql.test_status_orders import cut

ONE_BY_ONE = set(range(9))


def names(story: Story) -> list[tuple[Any, ...]]:
    return story.rows("select name, phone_number from chatsync.contacts where merged_into is null")


@pytest.mark.parametrize("cuts", [set[int](), {2}, ONE_BY_ONE], ids=["1", "2", "4"])
def test_the_name_that_a_contact_gave_last_stays_whatever_the_order(
    undone_worker: SyncConnection, cuts: set[int]
) -> None:
    items = [
        said("a", who("phone:1", name="Ann"), second=1),
        said("b", who("phone:1", name="Anna"), second=5),
        said("c", who("phone:1"), second=3),
        echoed("d", who("phone:1", name="Book"), second=9),
    ]
    for order in permutations(items):
        with forgotten(undone_worker) as story:
            story.tell_each(cut(order, cuts))
            assert names(story) == [("Anna", "1")]
            assert story.tell(*items) == []


def test_an_older_delivery_that_comes_late_renames_nobody(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        story.tell(said("b", who("phone:1", name="Anna"), second=5), echoed("x", second=8))
        assert (
            of_type(story.tell(said("a", who("phone:1", name="Ann"), second=3)), "contact:updated")
            == []
        )
        assert names(story) == [("Anna", "1")]
        # Later than the name, though earlier than what the business said last.
        told = story.tell(said("c", who("phone:1", name="Annie"), second=6))
        assert [data["contact"]["name"] for data in of_type(told, "contact:updated")] == ["Annie"]


def test_a_name_that_a_contact_took_back_before_it_came_here_is_not_taken(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        for second in (1, 5):
            story.tell(said(f"m{second}", who("phone:1", name="Ann"), second=second))
        story.tell(said("late", who("phone:1", name="Bob"), second=3))
        assert names(story) == [("Ann", "1")]


def test_an_older_delivery_that_brings_an_identity_brings_no_older_name_or_number(
    undone_worker: SyncConnection,
) -> None:
    def moved(to: str, second: float, name: str, *more: str) -> Item:
        contact = who("bsuid:B", *more, name=name, phone_number=to, is_new_number=True)
        return said(name, contact, second=second)

    with forgotten(undone_worker) as story:
        story.tell(moved("2", 5, "Anna"))
        story.tell(moved("1", 3, "Ann", "lid:L"))
        assert names(story) == [("Anna", "2")]
        assert story.value("select count(*) from chatsync.contact_identities") == 2


def test_what_the_business_says_fills_a_gap_and_renames_nobody(
    undone_worker: SyncConnection,
) -> None:
    def book(name: str, second: float) -> Item:
        return ContactChange(who("phone:1", name=name), at(second), is_own=False)

    with forgotten(undone_worker) as story:
        story.tell(said("a"))
        for number, name in enumerate(["Book", "Other", ""]):
            story.tell(book(name, 5 + number))
            assert names(story) == [("Book", "1")]
        story.tell(echoed("b", who("phone:1", name="Echo"), second=20))
        assert names(story) == [("Book", "1")]
        story.tell(said("c", who("phone:1", name="Own"), second=1))
        assert names(story) == [("Own", "1")]
        story.tell(book("Late", 30))
        assert names(story) == [("Own", "1")]


@pytest.mark.parametrize("is_first_older", [True, False])
def test_of_two_that_are_one_the_name_that_was_given_last_stays(
    undone_worker: SyncConnection, is_first_older: bool
) -> None:
    early, late = who("phone:1", name="Early"), who("bsuid:B", name="Late")
    with forgotten(undone_worker) as story:
        items = [said("a", early, second=1), said("b", late, second=5)]
        story.tell_each([item] for item in (items if is_first_older else items[::-1]))
        story.tell(said("c", who("phone:1", "bsuid:B"), second=2))
        assert names(story) == [("Late", "1")]
        story.tell(said("d", who("phone:1", name="Between"), second=3))
        assert names(story) == [("Late", "1")]


def test_a_name_of_its_own_outlives_a_merge_with_one_that_the_business_named(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(echoed("a", who("phone:1", name="Book"), second=9))
        story.tell(said("b", who("bsuid:B", name="Own"), second=1))
        story.tell(said("c", who("phone:1", "bsuid:B"), second=2))
        assert names(story) == [("Own", "1")]


def test_a_contact_that_only_was_spoken_of_is_told(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        change = ContactChange(who("phone:1", name="Book"), at(1), is_own=False)
        (told,) = of_type(story.tell(change), "contact:updated")
        assert told["contact"]["name"] == "Book"
        assert story.tell(change) == []


@pytest.mark.parametrize("cuts", [set[int](), ONE_BY_ONE], ids=["one batch", "one by one"])
def test_a_changed_number_stays_whatever_the_order(
    undone_worker: SyncConnection, cuts: set[int]
) -> None:
    items = [
        said("old", who("phone:1"), second=1),
        said("moved", who("phone:1", "phone:2", phone_number="2", is_new_number=True), second=5),
        said("new", who("phone:2"), second=6),
        said("late", who("phone:1"), second=7),
    ]
    for order in permutations(items):
        with forgotten(undone_worker) as story:
            story.tell_each(cut(order, cuts))
            assert names(story) == [(None, "2")]


def test_of_two_changed_numbers_the_newer_stays(undone_worker: SyncConnection) -> None:
    moves = [
        said(
            f"to {n}",
            who("bsuid:B", f"phone:{n}", phone_number=str(n), is_new_number=True),
            second=n,
        )
        for n in (2, 3, 4)
    ]
    for order in permutations(moves):
        for cuts in (set[int](), ONE_BY_ONE):
            with forgotten(undone_worker) as story:
                story.tell_each(cut(order, cuts))
                assert names(story) == [(None, "4")]


PROFILE: list[Item] = [
    said("a", who("phone:1", profile={"username": "ann"}), second=1),
    said("b", who("phone:1", profile={"username": "anna"}), second=5),
    ContactChange(who("phone:1"), at(2), preferences={"marketing_messages": "stop"}),
    ContactChange(who("phone:1"), at(4), preferences={"marketing_messages": "resume"}),
    ContactChange(who("phone:1"), at(3), preferences={"utility": "stop"}),
]


@pytest.mark.parametrize("cuts", [set[int](), ONE_BY_ONE], ids=["one batch", "one by one"])
def test_the_newest_of_each_part_of_a_profile_stays_whatever_the_order(
    undone_worker: SyncConnection, cuts: set[int]
) -> None:
    for order in permutations(PROFILE):
        with forgotten(undone_worker) as story:
            story.tell_each(cut(order, cuts))
            ((contact,),) = story.rows("select contact from chatsync.wire_contacts")
            assert contact["username"] == "anna"
            assert contact["preferences"] == {"marketing_messages": "resume", "utility": "stop"}
            assert story.tell(*order) == []


def test_profiles_of_two_that_are_one_are_joined_by_their_times(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        story.tell(
            said("a", who("phone:1", profile={"username": "old", "avatarUrl": "u"}), second=1)
        )
        story.tell(said("b", who("bsuid:B", profile={"username": "new"}), second=2))
        story.tell(said("c", who("phone:1", "bsuid:B"), second=3))
        ((contact,),) = story.rows(
            "select contact from chatsync.wire_contacts where not contact ? 'mergedInto'"
        )
        assert (contact["username"], contact["avatarUrl"]) == ("new", "u")


def test_the_same_profile_heard_again_is_no_news(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        ann = who("phone:1", name="Ann", profile={"username": "ann"})
        story.tell(said("a", ann, second=1))
        assert of_type(story.tell(said("b", ann, second=9)), "contact:updated") == []
        assert story.value("select version from chatsync.contacts") == 1
