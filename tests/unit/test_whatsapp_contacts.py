"""Who said it: phone numbers and business-scoped user ids (BSUIDs) of the Cloud API."""

from typing import Any

import pytest

from chatsync.providers.inbound import Contact, Identity, Malformed, Message, Source
from chatsync.providers.whatsapp_cloud import parse
from whatsapp_samples import INBOX_ID, RECEIVED_AT, SOURCE

BSUID = "BR.1234567890"
PARENT = "BR.ENT.99887766"
PHONE = "5511990000001"
PHONE_ID = Identity("tenant", "phone", PHONE)
BSUID_ID = Identity("portfolio:waba", "bsuid", BSUID)
PARENT_ID = Identity("portfolio:waba", "parent_bsuid", PARENT)


def said(**names: object) -> dict[str, Any]:
    return {
        "id": "wamid.1",
        "timestamp": "1700000000",
        "type": "text",
        "text": {"body": "x"},
    } | names


def contact_of(
    message: dict[str, Any],
    *people: object,
    kind: str = "messages",
    account: object = "waba",
    account_id: str | None = None,
) -> Contact:
    value = {kind: [message], "contacts": list(people)}
    delivery = {"entry": [{"id": account, "changes": [{"value": value}]}]}
    (item,) = parse(delivery, Source(INBOX_ID, account_id, RECEIVED_AT))
    assert isinstance(item, Message), item
    assert item.contact is not None
    return item.contact


def person(name: str | None = None, **ids: object) -> dict[str, Any]:
    return {"profile": {} if name is None else {"name": name}, **ids}


def test_message_and_contacts_together_name_all_that_is_known():
    contact = contact_of(
        said(**{"from": PHONE, "from_user_id": BSUID}),
        person("Ana", wa_id=PHONE, user_id=BSUID, parent_user_id=PARENT),
    )
    assert set(contact.identities) == {PHONE_ID, BSUID_ID, PARENT_ID}
    assert len(contact.identities) == 3
    assert (contact.name, contact.phone_number) == ("Ana", PHONE)


def test_a_contact_may_be_known_by_its_business_scoped_id_alone():
    contact = contact_of(said(from_user_id=BSUID), person("Ana", user_id=BSUID))
    assert contact == Contact((BSUID_ID,), "Ana", None)


def test_a_contact_may_be_named_in_contacts_alone():
    contact = contact_of(said(), person("Ana", user_id=BSUID, parent_user_id=PARENT))
    assert contact == Contact((BSUID_ID, PARENT_ID), "Ana", None)


def test_a_business_scoped_id_where_a_phone_number_was_is_no_phone_number():
    contact = contact_of(said(**{"from": BSUID}), person("Ana", wa_id=BSUID))
    assert contact == Contact((BSUID_ID,), "Ana", None)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("US.1", "bsuid"),
        ("BR.abcXYZ019", "bsuid"),
        ("BR." + "x" * 128, "bsuid"),
        ("US.ENT.1", "parent_bsuid"),
        # A bare ENT is an id like any other.
        ("US.ENT", "bsuid"),
        ("5511990000001", "phone"),
        ("us.1", "external"),
        ("USA.1", "external"),
        ("US1", "external"),
        ("US.", "external"),
        ("US.a b", "external"),
        ("US.\u0661", "external"),
        ("\u0661\u0662", "external"),
        ("BR." + "x" * 129, "external"),
    ],
)
def test_an_id_is_a_business_scoped_one_by_its_form(value: str, kind: str):
    (identity,) = contact_of(said(**{"from": value})).identities
    assert identity.kind == kind
    assert identity.value == value


def test_a_name_that_is_neither_holds_in_its_inbox_alone():
    contact = contact_of(said(**{"from": "us.1"}))
    assert contact == Contact((Identity(f"inbox:{INBOX_ID}", "external", "us.1"),))


@pytest.mark.parametrize("written", [f"+{PHONE}", "+55 (11) 99000-0001", "55.11.990000001"])
def test_a_phone_number_is_its_digits(written: str):
    contact = contact_of(said(**{"from": written}), person(wa_id=PHONE))
    assert contact.identities == (PHONE_ID,)
    assert contact.phone_number == PHONE


def test_a_username_is_part_of_the_profile_and_no_identity():
    for written in ("ana.b", "@ana.b"):
        known = {"wa_id": PHONE, "profile": {"name": "Ana", "username": written}}
        contact = contact_of(said(**{"from": PHONE}), known)
        assert contact == Contact((PHONE_ID,), "Ana", PHONE, profile={"username": "ana.b"})


@pytest.mark.parametrize("value", ["+", "++", " - ", "x" * 201])
def test_what_is_no_name_is_nobody(value: str):
    # Everybody without a number would become one contact.
    delivery = {
        "entry": [{"id": "w", "changes": [{"value": {"messages": [said(**{"from": value})]}}]}]
    }
    (item,) = parse(delivery, SOURCE)
    assert isinstance(item, Malformed)


def test_phones_hold_in_the_tenant_and_business_scoped_ids_in_the_portfolio():
    message = said(**{"from": PHONE, "from_user_id": BSUID})
    assert contact_of(message, account="waba").identities == (PHONE_ID, BSUID_ID)
    assert contact_of(message, account="other").identities == (
        PHONE_ID,
        Identity("portfolio:other", "bsuid", BSUID),
    )


def test_the_account_of_the_inbox_goes_before_that_of_the_entry():
    contact = contact_of(said(from_user_id=BSUID), account="entry", account_id="inbox")
    assert contact.identities == (Identity("portfolio:inbox", "bsuid", BSUID),)


@pytest.mark.parametrize("account", [None, 5, "", []])
def test_without_an_account_the_portfolio_has_no_name(account: object):
    contact = contact_of(said(from_user_id=BSUID), account=account)
    assert contact.identities == (Identity("portfolio:", "bsuid", BSUID),)


def test_each_message_of_a_delivery_belongs_to_its_own_person():
    value = {
        "messages": [said(**{"from": "2"}), said(**{"from": "1"}), said(from_user_id="BR.3")],
        "contacts": [
            person("One", wa_id="1"),
            person("Two", wa_id="2", user_id="BR.2"),
            person("Three", user_id="BR.3", parent_user_id="BR.ENT.3"),
        ],
    }
    found = parse({"entry": [{"id": "waba", "changes": [{"value": value}]}]}, SOURCE)
    contacts = [it.contact for it in found if isinstance(it, Message) and it.contact]
    assert [contact.name for contact in contacts] == ["Two", "One", "Three"]
    assert [contact.phone_number for contact in contacts] == ["2", "1", None]
    assert [len(contact.identities) for contact in contacts] == [2, 1, 2]


def test_among_several_people_one_who_is_not_named_lends_nothing():
    contact = contact_of(
        said(**{"from": PHONE}), person("One", wa_id="1"), person("Two", wa_id="2")
    )
    assert contact == Contact((PHONE_ID,), None, PHONE)


def test_one_person_needs_no_match():
    # The number a customer writes from may differ from the account's by a digit (Brazil, Mexico).
    contact = contact_of(said(**{"from": "551190000001"}), person("Ana", wa_id=PHONE))
    assert contact.name == "Ana"
    assert {identity.value for identity in contact.identities} == {"551190000001", PHONE}
    assert contact.phone_number == "551190000001"


def test_one_person_is_not_joined_with_the_many_who_spoke():
    value = {
        "messages": [said(**{"from": "1"}), said(**{"from": "2"})],
        "contacts": [person("One", wa_id="1")],
    }
    found = parse({"entry": [{"id": "waba", "changes": [{"value": value}]}]}, SOURCE)
    contacts = [item.contact for item in found if isinstance(item, Message)]
    assert contacts == [
        Contact((Identity("tenant", "phone", "1"),), "One", "1"),
        Contact((Identity("tenant", "phone", "2"),), None, "2"),
    ]


def test_two_business_scoped_ids_are_two_people():
    contact = contact_of(said(from_user_id="BR.2"), person("One", user_id="BR.1"))
    assert contact == Contact((Identity("portfolio:waba", "bsuid", "BR.2"),))


def test_an_echo_goes_to_the_person_it_was_sent_to():
    message = said(**{"from": "551133330000", "to": PHONE, "to_user_id": BSUID})
    contact = contact_of(message, person("Ana", wa_id=PHONE), kind="message_echoes")
    assert set(contact.identities) == {PHONE_ID, BSUID_ID}
    assert contact.phone_number == PHONE


def test_ids_of_the_wrong_kind_are_no_ids():
    contact = contact_of(
        said(**{"from": PHONE, "from_user_id": 5, "from_parent_user_id": []}),
        person(wa_id={}, user_id=None, parent_user_id=True),
    )
    assert contact.identities == (PHONE_ID,)
