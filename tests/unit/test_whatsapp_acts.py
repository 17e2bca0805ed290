"""What the Cloud API says was done to messages: reactions, edits, revocations."""

from typing import Any

import pytest

from chatsync.providers.inbound import Contact, Edit, Item, Malformed, Reaction, Revoke
from whatsapp_samples import ALICE, AT, BUSINESS, PHONE, items, message, only

WHO = Contact((PHONE,), "Alice", "5511990000001")


def live(kind: str, **body: object) -> list[Item]:
    return items(messages=[message(kind, **{kind: body})], contacts=[ALICE])


def echoed(kind: str, **body: object) -> list[Item]:
    raw = message(kind, **{kind: body, "from": BUSINESS, "to": "5511990000001"})
    return items("smb_message_echoes", message_echoes=[raw], contacts=[ALICE])


def test_a_reaction_is_an_emoji_on_a_message():
    found = only(Reaction, live("reaction", message_id="wamid.0", emoji="😮"))
    assert found == Reaction("wamid.1", "wamid.0", WHO, "INBOUND", "😮", AT)


@pytest.mark.parametrize("body", [{"emoji": ""}, {"emoji": None}, {}])
def test_a_reaction_without_an_emoji_takes_it_back(body: dict[str, Any]):
    assert only(Reaction, live("reaction", message_id="wamid.0", **body)).emoji is None


def test_a_reaction_of_the_business_is_ours():
    found = only(Reaction, echoed("reaction", message_id="wamid.0", emoji="👍"))
    assert (found.direction, found.contact, found.emoji) == ("OUTBOUND", None, "👍")


def edit(inner: object) -> dict[str, object]:
    return {"original_message_id": "wamid.0", "message": inner}


def test_an_edit_brings_the_new_text():
    inner = {"type": "text", "text": {"body": "new"}, "context": {"id": "M0"}}
    expected = Edit("wamid.1", "wamid.0", "new", AT)
    assert only(Edit, live("edit", **edit(inner))) == expected
    assert only(Edit, echoed("edit", **edit(inner))) == expected


def test_an_edit_of_media_brings_the_new_caption_and_the_file():
    inner = {"type": "image", "image": {"id": "m1", "caption": "new"}}
    found = only(Edit, live("edit", **edit(inner)))
    assert (found.content, found.metadata) == ("new", {"media": {"id": "m1"}})


@pytest.mark.parametrize("inner", [None, 5, {}, {"type": "text"}, {"type": "poll", "poll": {}}])
def test_an_edit_that_would_blank_a_message_is_malformed(inner: object):
    assert "edit" in only(Malformed, live("edit", **edit(inner))).reason


def test_a_revocation_names_what_is_gone():
    expected = Revoke("wamid.1", "wamid.0", AT)
    assert only(Revoke, live("revoke", original_message_id="wamid.0")) == expected
    assert only(Revoke, echoed("revoke", original_message_id="wamid.0")) == expected


@pytest.mark.parametrize("kind", ["reaction", "edit", "revoke"])
@pytest.mark.parametrize("target", [None, 5, "", "x" * 501])
def test_what_is_done_to_no_message_is_malformed(kind: str, target: object):
    body = {"message_id": target, "original_message_id": target, "emoji": "👍"}
    assert "message_id" in only(Malformed, live(kind, **body)).reason


def test_an_emoji_that_is_not_text_is_malformed():
    only(Malformed, live("reaction", message_id="wamid.0", emoji=5))
