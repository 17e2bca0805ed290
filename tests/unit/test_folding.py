"""Contacts of one transaction: no identity stands under two of them."""

import random
from datetime import UTC, datetime

import pytest

from chatsync.inbox.documents import InboundItem, fold
from chatsync.providers.inbound import Contact, Identity, Message, Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def phone(value: str) -> Identity:
    return Identity("tenant", "phone", value)


def bsuid(value: str, scope: str = "portfolio:w") -> Identity:
    return Identity(scope, "bsuid", value)


def said(
    *identities: Identity, name: str | None = None, tenant: str = "t1", echo: bool = False
) -> InboundItem:
    number = next((it.value for it in identities if it.kind == "phone"), None)
    message = Message(
        provider_message_id="m",
        contact=Contact(identities, name, number),
        direction="OUTBOUND" if echo else "INBOUND",
        type="TEXT",
        content="x",
        occurred_at=NOW,
        origin="echo" if echo else "live",
    )
    return InboundItem(tenant, 1, "c", message)


def keys(*items: InboundItem) -> list[int | None]:
    return [document["contact_key"] for document in fold(items).items]


def names(*items: InboundItem) -> list[str | None]:
    return [contact["name"] for contact in fold(items).contacts]


def test_one_person_has_one_key_however_often_they_write():
    folded = fold([said(phone("1")), said(phone("1")), said(phone("1"))])
    assert len(folded.contacts) == 1
    assert {item["contact_key"] for item in folded.items} == {folded.contacts[0]["key"]}


def test_strangers_have_keys_of_their_own():
    one, two, again = keys(said(phone("1")), said(phone("2")), said(phone("1")))
    assert one == again != two


def test_a_shared_identity_joins_two_people():
    items = [said(phone("1")), said(bsuid("B")), said(phone("1"), bsuid("B"))]
    assert len(set(keys(*items))) == 1
    (contact,) = fold(items).contacts
    assert contact["phoneNumber"] == "1"
    assert contact["identities"] == [
        {"scope": "tenant", "kind": "phone", "value": "1"},
        {"scope": "portfolio:w", "kind": "bsuid", "value": "B"},
    ]


def test_people_are_joined_over_several_steps_and_in_any_order():
    chain = [said(phone(str(number)), phone(str(number + 1))) for number in range(20)]
    for seed in range(10):
        random.Random(seed).shuffle(chain)
        assert len(set(keys(*chain))) == 1


def test_the_same_value_in_another_scope_or_of_another_kind_is_somebody_else():
    items = [
        said(bsuid("B", "portfolio:1")),
        said(bsuid("B", "portfolio:2")),
        said(phone("B")),
        said(Identity("portfolio:1", "parent_bsuid", "B")),
    ]
    assert len(set(keys(*items))) == 4


def test_the_same_number_in_another_tenant_is_somebody_else():
    folded = fold([said(phone("1"), tenant="t1"), said(phone("1"), tenant="t2")])
    assert [contact["tenantId"] for contact in folded.contacts] == ["t1", "t2"]
    assert len({item["contact_key"] for item in folded.items}) == 2


def test_no_identity_stands_under_two_keys():
    for seed in range(30):
        generator = random.Random(seed)
        pool = [phone(str(number)) for number in range(8)] + [bsuid(str(n)) for n in range(8)]
        items = [
            said(
                *generator.sample(pool, generator.randint(1, 3)),
                tenant=generator.choice(["t1", "t2"]),
            )
            for _ in range(12)
        ]
        folded = fold(items)
        seen = [
            (contact["tenantId"], *identity.values())
            for contact in folded.contacts
            for identity in contact["identities"]
        ]
        assert len(seen) == len(set(seen))
        assert len({contact["key"] for contact in folded.contacts}) == len(folded.contacts)
        held = {contact["key"]: contact for contact in folded.contacts}
        for entry, item in zip(items, folded.items, strict=True):
            assert isinstance(entry.item, Message)
            assert entry.item.contact is not None
            contact = held[item["contact_key"]]
            assert contact["tenantId"] == entry.tenant_id
            values = [each["value"] for each in contact["identities"]]
            assert all(one.value in values for one in entry.item.contact.identities)


def test_items_keep_their_order_and_their_position():
    status = InboundItem("t1", 1, "c", Status("m", "READ", NOW))
    folded = fold([said(phone("1")), status, said(phone("2"))])
    assert [item["kind"] for item in folded.items] == ["message", "status", "message"]
    assert [item["position"] for item in folded.items] == [0, 1, 2]
    assert "contact_key" not in folded.items[1]


def test_what_somebody_called_themselves_last_is_their_name():
    assert names(said(phone("1"), name="Old"), said(phone("1"), name="New")) == ["New"]
    assert names(said(phone("1"), name="Ana"), said(phone("1"))) == ["Ana"]
    assert names(said(phone("1"))) == [None]


def test_an_echo_names_somebody_only_who_has_no_name():
    assert names(said(phone("1"), name="Ana"), said(phone("1"), name="Book", echo=True)) == ["Ana"]
    assert names(said(phone("1"), name="Book", echo=True), said(phone("1"), name="Ana")) == ["Ana"]
    assert names(said(phone("1"), name="Book", echo=True)) == ["Book"]


@pytest.mark.parametrize("last", [0, 1])
def test_people_who_turn_out_to_be_one_keep_a_name(last: int):
    people = [said(phone("1"), name="Ana"), said(bsuid("B"), name=None)]
    joined = said(*(phone("1"), bsuid("B"))[:: 1 if last else -1])
    assert names(*people, joined) == ["Ana"]


def test_a_name_that_only_the_business_gave_does_not_displace_one_of_their_own():
    book = said(phone("1"), name="Book", echo=True)
    own = said(bsuid("B"), name="Ana")
    for joined in (said(phone("1"), bsuid("B")), said(bsuid("B"), phone("1"))):
        assert names(book, own, joined) == ["Ana"]
        assert names(own, book, joined) == ["Ana"]


def test_nothing_folds_to_nothing():
    assert fold([]).contacts == []
    assert fold([]).items == []
