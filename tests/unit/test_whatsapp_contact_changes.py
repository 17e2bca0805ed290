"""What the Cloud API says of contacts without a message, or in a message of its own."""

from typing import Any

import pytest

from chatsync.providers.inbound import (
    Contact,
    ContactChange,
    Identity,
    Ignored,
    Malformed,
    Message,
)
from whatsapp_samples import ALICE, AT, PHONE, RECEIVED_AT, items, message, only

NEW_PHONE = Identity("tenant", "phone", "5511990009999")
OLD_ID = Identity("portfolio:waba", "bsuid", "BR.1")
NEW_ID = Identity("portfolio:waba", "bsuid", "BR.2")


def preference(**changes: object) -> dict[str, Any]:
    said = {"wa_id": PHONE.value, "category": "marketing_messages", "value": "stop"}
    return {"timestamp": 1700000000} | said | changes


def test_a_preference_is_known_by_its_category():
    found = only(ContactChange, items(user_preferences=[preference()], contacts=[ALICE]))
    assert found == ContactChange(
        Contact((PHONE,), "Alice", PHONE.value), AT, preferences={"marketing_messages": "stop"}
    )


@pytest.mark.parametrize("broken", [{"category": 5}, {"value": None}, {"timestamp": "soon"}])
def test_a_preference_that_says_nothing_is_malformed(broken: dict[str, Any]):
    raw = preference(**broken)
    assert only(Malformed, items(user_preferences=[raw])).item == raw


def test_a_changed_id_joins_the_previous_and_the_current():
    raw = {
        "wa_id": PHONE.value,
        "user_id": {"previous": "BR.1", "current": "BR.2"},
        "parent_user_id": {"previous": "BR.ENT.1", "current": "BR.ENT.2"},
        "timestamp": "1700000000",
    }
    found = only(ContactChange, items("user_id_update", user_id_update=[raw], contacts=[ALICE]))
    parents = tuple(Identity("portfolio:waba", "parent_bsuid", f"BR.ENT.{n}") for n in "12")
    identities = (PHONE, OLD_ID, NEW_ID, *parents)
    assert found == ContactChange(Contact(identities, "Alice", PHONE.value), AT)


def test_a_changed_id_may_come_without_a_number_and_without_a_time():
    raw = {"user_id": {"previous": "BR.1", "current": "BR.2"}}
    person = {"profile": {"username": "@ana"}}
    found = only(ContactChange, items("user_id_update", user_id_update=[raw], contacts=[person]))
    contact = Contact((OLD_ID, NEW_ID), profile={"username": "ana"})
    assert found == ContactChange(contact, RECEIVED_AT)


def book(action: str = "add", **contact: object) -> dict[str, Any]:
    known = {"full_name": "Ana Bo", "first_name": "Ana", "phone_number": "+55 11 99000-0001"}
    return {
        "type": "contact",
        "action": action,
        "contact": known | contact,
        "metadata": {"timestamp": "1700000000"},
    }


def test_the_address_book_names_a_contact_but_not_in_its_own_words():
    found = only(ContactChange, items("smb_app_state_sync", state_sync=[book()]))
    assert found == ContactChange(Contact((PHONE,), "Ana Bo", PHONE.value), AT, is_own=False)


def test_the_address_book_may_know_an_id_alone():
    raw = book(phone_number="", user_id="BR.1", username="ana", full_name="")
    found = only(ContactChange, items("smb_app_state_sync", state_sync=[raw]))
    assert found.contact == Contact((OLD_ID,), "Ana", profile={"username": "ana"})


def test_leaving_the_address_book_changes_nothing():
    only(Ignored, items("smb_app_state_sync", state_sync=[book("remove")]))


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"type": "label"},
        {"contact": 5},
        {"contact": {}},
        book() | {"metadata": {"timestamp": ""}},
    ],
    ids=ascii,
)
def test_an_entry_that_names_nobody_is_malformed(broken: dict[str, Any]):
    assert only(Malformed, items("smb_app_state_sync", state_sync=[broken])).item == broken


def system(kind: str, sender: dict[str, object], **body: object) -> Message:
    raw = message("system", system={"type": kind, "body": "changed", **body}, **sender)
    found = only(Message, items(messages=[raw]))
    assert (found.type, found.content, found.metadata) == ("SYSTEM", "changed", {"subtype": kind})
    return found


@pytest.mark.parametrize(
    ("kind", "key"),
    [("user_changed_number", "wa_id"), ("customer_changed_number", "new_wa_id")],
)
def test_a_changed_number_is_the_same_contact_under_both(kind: str, key: str):
    found = system(kind, {}, **{key: NEW_PHONE.value})
    assert found.contact == Contact((PHONE, NEW_PHONE), None, NEW_PHONE.value, is_new_number=True)


def test_a_changed_id_in_a_message_is_the_same_contact_under_both():
    found = system("user_changed_user_id", {"from_user_id": "BR.1"}, user_id="BR.2")
    assert found.contact == Contact((PHONE, OLD_ID, NEW_ID), None, PHONE.value)
    both = {"wa_id": NEW_PHONE.value, "previous_user_id": "BR.1", "user_id": "BR.2"}
    found = system("user_changed_user_id", {}, **both)
    assert found.contact == Contact(
        (PHONE, NEW_PHONE, OLD_ID, NEW_ID), None, NEW_PHONE.value, is_new_number=True
    )


def test_a_changed_code_changes_no_number():
    found = system("customer_identity_changed", {}, wa_id=PHONE.value)
    assert found.contact == Contact((PHONE,), None, PHONE.value)


@pytest.mark.parametrize("number", [None, 5, "", [], "+"])
def test_a_changed_number_that_cannot_be_read_changes_none(number: object):
    found = system("user_changed_number", {}, wa_id=number)
    assert found.contact == Contact((PHONE,), None, PHONE.value)
