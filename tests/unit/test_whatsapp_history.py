"""Conversations from before an inbox was connected, as the Cloud API sends them."""

from typing import Any

import pytest

from chatsync.providers.inbound import (
    Contact,
    Identity,
    Ignored,
    Item,
    Malformed,
    Message,
    Notice,
    Reaction,
)
from whatsapp_samples import ALICE, AT, BUSINESS, PHONE, items, message, only

WHO = Contact((PHONE,), None, "5511990000001")


def thread(*messages: object, **changes: object) -> dict[str, Any]:
    return {"id": "5511990000001", "messages": list(messages)} | changes


def history(*threads: object) -> list[Item]:
    chunk = {"metadata": {"phase": 0, "chunk_order": 1}, "threads": list(threads)}
    return items("history", history=[chunk])


def old(status: object = ..., **changes: object) -> dict[str, Any]:
    context = {} if status is ... else {"history_context": {"status": status}}
    return message(**(context | changes))


def test_what_a_contact_said_is_inbound_history():
    said = only(Message, history(thread(old("READ"))))
    assert said == Message("wamid.1", WHO, "INBOUND", "TEXT", "olá", AT, "history")


def test_what_the_business_said_goes_to_the_contact_of_the_thread():
    # The display number is written with spaces, the sender's is not.
    said = only(Message, history(thread(old("DELIVERED", **{"from": BUSINESS}))))
    assert (said.direction, said.contact, said.status) == ("OUTBOUND", WHO, "DELIVERED")
    said = only(Message, history(thread(old(**{"from": BUSINESS, "to": "5511990000001"}))))
    assert (said.direction, said.contact, said.status) == ("OUTBOUND", WHO, None)


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("PENDING", "PENDING"),
        ("SENT", "SENT"),
        ("DELIVERED", "DELIVERED"),
        ("READ", "READ"),
        ("PLAYED", "READ"),
        ("ERROR", "FAILED"),
        ("read", "READ"),
        ("LOST", None),
        (5, None),
    ],
)
def test_history_says_how_far_messages_came(given: object, known: str | None):
    said = only(Message, history(thread(old(given, **{"from": BUSINESS}))))
    assert said.status == known


def test_a_thread_names_its_contact_beside_its_messages():
    known = {"wa_id": "", "user_id": "BR.1", "username": "@ana"}
    bsuid = Identity("portfolio:waba", "bsuid", "BR.1")
    raw = thread(old(**{"from": "", "from_user_id": "BR.1"}), id="", context=known)
    said = only(Message, history(raw))
    assert said.contact == Contact((bsuid,), profile={"username": "ana"})
    raw = thread(old(), context={"wa_id": "5511990000001", "user_id": "BR.1"})
    assert only(Message, history(raw)).contact == Contact((PHONE, bsuid), None, PHONE.value)


def test_an_author_whom_the_thread_does_not_name_stays_apart():
    other = Identity("tenant", "phone", "5511990000002")
    said = only(Message, history(thread(old(**{"from": other.value}))))
    assert said.contact == Contact((other,), None, other.value)


def test_a_group_in_history_has_authors_and_no_contact_of_its_own():
    raw = thread(old(group_id="g1"), old(group_id="g1", **{"from": BUSINESS}), id="g1")
    theirs, ours = history(raw)
    assert isinstance(theirs, Message)
    assert isinstance(ours, Message)
    assert (theirs.contact, ours.contact) == (WHO, None)
    assert theirs.group == ours.group is not None


def test_media_have_a_placeholder_until_they_come():
    said = only(Message, history(thread(old("PLAYED", type="media_placeholder"))))
    assert (said.type, said.is_placeholder, said.content) == ("UNSUPPORTED", True, None)
    later = message("image", image={"id": "m1"})
    said = only(Message, items("history", messages=[later], contacts=[ALICE]))
    assert (said.type, said.is_placeholder, said.origin) == ("IMAGE", False, "history")
    assert (said.provider_message_id, said.direction) == ("wamid.1", "INBOUND")


@pytest.mark.parametrize("kind", ["messages", "message_echoes"])
def test_media_that_the_business_sent_come_later_as_well(kind: str):
    raw = message("image", image={}, **{"from": BUSINESS, "to": "5511990000001"})
    said = only(Message, items("history", **{kind: [raw]}))
    assert (said.direction, said.origin, said.contact) == ("OUTBOUND", "history", WHO)


def test_reactions_in_history_are_reactions():
    raw = message("reaction", reaction={"message_id": "wamid.0", "emoji": "👍"})
    assert only(Reaction, history(thread(raw))).contact == WHO


def test_a_declined_history_is_noticed_with_its_reason():
    error = {"code": 2593109, "title": "Off", "error_data": {"details": "declined"}}
    notice = only(Notice, items("history", history=[{"errors": [error]}]))
    assert (notice.kind, notice.title) == ("history_error", "Off")
    assert notice.data == {"code": 2593109, "title": "Off", "details": "declined"}


def test_messages_of_history_are_malformed_alone():
    first, broken, odd, last = history(thread(old(), old(id=5)), 5, thread(old(id="wamid.2")))
    assert isinstance(first, Message)
    assert isinstance(last, Message)
    assert isinstance(broken, Malformed)
    assert broken.item == old(id=5)
    assert odd == Malformed("not an object", 5)


def test_a_chunk_without_messages_means_nothing():
    only(Ignored, items("history", history=[{"metadata": {"progress": 100}}]))
    only(Ignored, history(thread()))


@pytest.mark.parametrize("broken", [None, 5, "x", []])
def test_a_chunk_that_cannot_be_read_is_malformed(broken: object):
    assert only(Malformed, items("history", history=[broken])).item == broken
