"""What a batch says of a person: the newest word counts, a contact's own before others'."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatsync.inbox.people import People
from chatsync.providers.inbound import Contact, Identity

PHONE = Identity("tenant", "phone", "1")
BSUID = Identity("portfolio:w", "bsuid", "BR.1")
BOTH = Contact((PHONE, BSUID))


def at(second: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def written(second: int) -> str:
    return at(second).isoformat()


def heard(*words: tuple[Contact, bool, int], **preferences: str) -> dict[str, Any]:
    """The one person of whom contact, is_own and second are said."""
    people = People()
    for contact, is_own, second in words:
        people.add("t1", contact, is_own=is_own, at=at(second), preferences=preferences or None)
    for contact, *_ in words[:1]:
        people.key(people.add("t1", contact, is_own=False, at=at(0)))
    (document,) = people.documents()
    return document


def named(name: str | None, *identities: Identity) -> Contact:
    return Contact(identities or (PHONE,), name)


def test_a_name_comes_with_the_time_at_which_it_was_given_and_not_with_a_later_one():
    document = heard((named("Ann"), True, 1), (named(None), True, 9), (named("Book"), False, 9))
    assert (document["name"], document["isRenamed"]) == ("Ann", True)
    assert document["namedAt"] == written(1)


def test_a_name_of_the_business_renames_nobody():
    document = heard((named("Book"), False, 1))
    assert document["name"] == "Book"
    assert "isRenamed" not in document
    assert "namedAt" not in document


def test_the_newest_own_name_stays_in_any_order_and_however_the_person_comes_together():
    words = [
        (named("Old", PHONE), True, 1),
        (named("New", BSUID), True, 5),
        (named("Book", PHONE), False, 9),
        (BOTH, True, 7),
    ]
    for order in permutations(words):
        document = heard(*order)
        assert (document["name"], document["namedAt"]) == ("New", written(5))


def test_the_newest_changed_number_stays_in_any_order():
    def moved(number: str, *identities: Identity) -> Contact:
        return Contact(identities, None, number, is_new_number=True)

    words = [
        (moved("2", PHONE), True, 2),
        (moved("3", BSUID), True, 3),
        (Contact((PHONE,), None, "1"), True, 9),
        (BOTH, True, 1),
    ]
    for order in permutations(words):
        document = heard(*order)
        assert document["phoneNumber"] == "3"
        assert document["isNewNumber"] is True
        assert document["numberedAt"] == written(3)


def test_a_number_that_did_not_change_is_no_news():
    document = heard((Contact((PHONE,), None, "1"), True, 1))
    assert document["phoneNumber"] == "1"
    assert "isNewNumber" not in document
    assert "numberedAt" not in document


def test_each_part_of_a_profile_has_its_own_time():
    words = [
        (Contact((PHONE,), profile={"username": "old", "avatarUrl": "u"}), True, 1),
        (Contact((BSUID,), profile={"username": "new"}), True, 5),
        (BOTH, True, 3),
    ]
    for order in permutations(words):
        assert heard(*order)["profile"] == {
            "username": {"value": "new", "at": written(5)},
            "avatarUrl": {"value": "u", "at": written(1)},
        }


def test_preferences_are_parts_of_a_profile():
    document = heard((named(None), True, 4), marketing_messages="stop", utility="resume")
    assert document["profile"] == {
        "preferences.marketing_messages": {"value": "stop", "at": written(4)},
        "preferences.utility": {"value": "resume", "at": written(4)},
    }


def test_who_has_no_profile_says_nothing_of_one():
    assert "profile" not in heard((named("Ann"), True, 1))


IDENTITIES = [Identity("tenant", "phone", str(number)) for number in range(6)]


@given(st.lists(st.lists(st.sampled_from(IDENTITIES), min_size=1, max_size=3), min_size=1))
def test_keys_are_dense_and_stand_for_who_shares_an_identity(batch: list[list[Identity]]):
    people = People()
    numbers = [
        people.add("t1", Contact(tuple(identities)), is_own=True, at=at(0)) for identities in batch
    ]
    keys = [people.key(number) for number in numbers]
    documents = people.documents()
    assert [document["key"] for document in documents] == list(range(len(documents)))
    groups: list[set[Identity]] = []
    for identities in batch:
        joined = set(identities).union(*(one for one in groups if one & set(identities)))
        groups = [one for one in groups if not one & joined] + [joined]
    assert len(groups) == len(documents)
    for key, identities in zip(keys, batch, strict=True):
        values = {one["value"] for one in documents[key]["identities"]}
        (group,) = [one for one in groups if set(identities) & one]
        assert values == {one.value for one in group}
