"""What a message of Evolution's says, type by type."""

from datetime import UTC, datetime
from typing import Any

import pytest

from chatsync.providers.evolution import parse
from chatsync.providers.inbound import Ignored, Message, Source

SOURCE = Source(7, None, datetime(2026, 5, 1, 12, tzinfo=UTC))
KEY = {"remoteJid": "5511990000001@s.whatsapp.net", "fromMe": False, "id": "M1"}


def said(content: dict[str, Any], **changes: Any) -> Message:
    data = {"key": KEY, "message": content, "messageTimestamp": 1_777_000_000, **changes}
    (found,) = parse({"event": "messages.upsert", "instance": "shop", "data": data}, SOURCE)
    assert isinstance(found, Message), found
    return found


def test_a_text_with_a_preview_is_a_text():
    found = said({"extendedTextMessage": {"text": "see https://a.example", "title": "A"}})
    assert (found.type, found.content) == ("TEXT", "see https://a.example")


@pytest.mark.parametrize("beside", ["before", "after"])
def test_the_content_is_found_wherever_it_stands(beside: str):
    others = {
        "messageContextInfo": {"a": 1},
        "base64": "AAAA",
        "mediaUrl": "",
        "conversation": None,
    }
    image = {"imageMessage": {"caption": "look"}}
    found = said(others | image if beside == "before" else image | others)
    assert (found.type, found.content) == ("IMAGE", "look")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("imageMessage", "IMAGE"),
        ("videoMessage", "VIDEO"),
        ("ptvMessage", "VIDEO"),
        ("audioMessage", "AUDIO"),
        ("documentMessage", "DOCUMENT"),
        ("stickerMessage", "STICKER"),
    ],
)
def test_media_are_described_and_never_copied(kind: str, expected: str):
    body = {
        "url": "https://mmg.whatsapp.net/x.enc",
        "mimetype": "image/png",
        "fileSha256": "c2hh",
        "fileLength": {"low": 1234, "high": 0, "unsigned": True},
        "jpegThumbnail": "AAAA",
        "mediaKey": "secret",
    }
    found = said({kind: body, "base64": "AAAA"})
    assert found.type == expected
    assert found.metadata == {
        "media": {
            "mime": "image/png",
            "sha256": "c2hh",
            "url": "https://mmg.whatsapp.net/x.enc",
            "size": 1234,
        }
    }


def test_a_stored_copy_goes_before_what_is_encrypted():
    body = {"url": "https://mmg.whatsapp.net/x.enc"}
    found = said({"imageMessage": body, "mediaUrl": "https://store.example/1.png"})
    assert found.metadata["media"] == {"url": "https://store.example/1.png"}


def test_a_data_url_is_no_url():
    assert said({"imageMessage": {"url": "data:image/png;base64,AAAA"}}).metadata["media"] == {}


def test_a_recording_a_moving_sticker_and_a_file_say_so():
    voice = said({"audioMessage": {"ptt": True, "seconds": "3", "fileLength": "99"}})
    assert voice.metadata["media"] == {"voice": True, "seconds": 3, "size": 99}
    sticker = said({"stickerMessage": {"isAnimated": True}})
    assert sticker.metadata["media"] == {"animated": True}
    file = said({"documentMessage": {"fileName": "a.pdf", "title": "A", "caption": "this"}})
    assert (file.content, file.metadata["media"]) == ("this", {"filename": "a.pdf"})


@pytest.mark.parametrize("shape", ["object", "buffer", "list"])
def test_a_hash_may_come_byte_by_byte(shape: str):
    octets = list(range(32))
    written = {
        "object": {str(place): octet for place, octet in enumerate(octets)},
        "buffer": {"type": "Buffer", "data": octets},
        "list": octets,
    }[shape]
    media = said({"imageMessage": {"fileSha256": written}}).metadata["media"]
    assert media == {"sha256": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}


def test_a_damaged_hash_is_none():
    for written in ([300], ["a"], {"0": None}, [1.5], 5, [1, 2]):
        assert said({"imageMessage": {"fileSha256": written}}).metadata["media"] == {}


@pytest.mark.parametrize(
    "wrapper",
    [
        "viewOnceMessage",
        "viewOnceMessageV2",
        "viewOnceMessageV2Extension",
        "ephemeralMessage",
        "documentWithCaptionMessage",
    ],
)
def test_wrappers_are_taken_off(wrapper: str):
    inner = {"messageContextInfo": {}, "videoMessage": {"caption": "once"}}
    found = said({wrapper: {"message": {"ephemeralMessage": {"message": inner}}}})
    assert (found.type, found.content) == ("VIDEO", "once")


def test_a_place_has_coordinates_even_at_zero():
    body = {"degreesLatitude": 0.0, "degreesLongitude": -47.5, "name": "Café", "url": "ftp://x"}
    found = said({"locationMessage": body})
    place = {"latitude": 0.0, "longitude": -47.5, "name": "Café"}
    assert (found.type, found.content, found.metadata) == ("LOCATION", None, {"location": place})
    live = said({"liveLocationMessage": body | {"caption": "on my way"}})
    assert (live.type, live.content) == ("LOCATION", "on my way")


@pytest.mark.parametrize("degrees", [None, "1", True, 91, 10**40])
def test_a_place_without_coordinates_is_unsupported(degrees: object):
    body = {"degreesLatitude": degrees, "degreesLongitude": 1}
    assert said({"locationMessage": body}).type == "UNSUPPORTED"


def test_a_card_has_a_name_and_numbers():
    vcard = (
        "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Bob\\, the\r\n  builder\r\n"
        "item1.TEL;type=CELL;waid=5511990000002:+55 11 99000-0002\r\n"
        "TEL:123\nTEL;waid=77:\nTEL:123\nNOTE\nEND:VCARD"
    )
    found = said({"contactMessage": {"vcard": vcard}})
    card = {"name": "Bob, the builder", "phones": ["+55 11 99000-0002", "123", "77"]}
    assert (found.type, found.content, found.metadata) == ("CONTACTS", None, {"cards": [card]})


def test_several_cards_are_one_message():
    cards = [{"displayName": "Bob", "vcard": "FN:Robert"}, {"displayName": "Eve"}, 5, {}]
    found = said({"contactsArrayMessage": {"contacts": cards}})
    named = [{"name": "Bob", "phones": []}, {"name": "Eve", "phones": []}]
    assert found.metadata == {"cards": named}
    assert said({"contactsArrayMessage": {"contacts": 5}}).type == "UNSUPPORTED"


@pytest.mark.parametrize(
    ("content", "shown", "metadata"),
    [
        (
            {"listResponseMessage": {"title": "Yes", "singleSelectReply": {"selectedRowId": "r1"}}},
            "Yes",
            {"subtype": "list_reply", "replyValue": "r1"},
        ),
        (
            {"buttonsResponseMessage": {"selectedButtonId": "b", "selectedDisplayText": "OK"}},
            "OK",
            {"subtype": "button_reply", "replyValue": "b"},
        ),
        (
            {"templateButtonReplyMessage": {"selectedId": "t", "selectedDisplayText": "Go"}},
            "Go",
            {"subtype": "quick_reply", "replyValue": "t"},
        ),
        ({"listResponseMessage": {"title": "No"}}, "No", {"subtype": "list_reply"}),
        ({"listMessage": {"title": "Menu", "description": "Pick"}}, "Pick", {"subtype": "list"}),
        ({"buttonsMessage": {"contentText": "Pick"}}, "Pick", {"subtype": "buttons"}),
        ({"interactiveMessage": {"body": {"text": "Hi"}}}, "Hi", {"subtype": "interactive"}),
    ],
)
def test_a_choice_is_shown_and_kept(content: dict[str, Any], shown: str, metadata: dict[str, Any]):
    found = said(content)
    assert (found.type, found.content, found.metadata) == ("INTERACTIVE", shown, metadata)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ('{"id": "x", "day": 3}', {"replyValue": "x", "form": {"id": "x", "day": 3}}),
        ('{"a": "\\u0000"}', {"form": {"a": "\ufffd"}}),
        ('{"a": NaN}', {"formText": '{"a": NaN}'}),
        ("[" * 5000, {"formText": "[" * 5000}),
        ("[1]", {"formText": "[1]"}),
        (5, {}),
    ],
)
def test_the_answers_of_a_form_are_json_within_json(written: object, kept: dict[str, Any]):
    body = {"body": {"text": "Sent"}, "nativeFlowResponseMessage": {"paramsJson": written}}
    found = said({"interactiveResponseMessage": body})
    assert found.content == "Sent"
    assert found.metadata == {"subtype": "nfm_reply", **kept}


def test_templates_and_orders_are_told_apart():
    filled = {"hydratedTemplate": {"hydratedContentText": "Your order"}}
    assert said({"templateMessage": filled}).type == "TEMPLATE"
    order = said({"orderMessage": {"message": "two, please"}})
    assert (order.type, order.content) == ("ORDER", "two, please")


def test_a_type_that_nobody_knows_is_kept():
    found = said({"messageContextInfo": {}, "pollCreationMessageV9": {"name": "?"}})
    assert (found.type, found.content) == ("UNSUPPORTED", None)
    assert found.metadata == {
        "providerType": "pollCreationMessageV9",
        "subtype": "pollCreationMessageV9",
    }


def test_a_type_that_is_only_named_is_kept():
    found = said({"mediaUrl": "https://store.example/1.png"}, messageType="imageMessage")
    assert (found.type, found.metadata["media"]) == (
        "IMAGE",
        {"url": "https://store.example/1.png"},
    )
    assert said({}, messageType="newMessage").metadata["providerType"] == "newMessage"


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_a_reply_names_what_it_answers(place: str):
    context = {"stanzaId": "Q1", "isForwarded": True, "mentionedJid": ["1@lid", 5, ""]}
    if place == "outside":
        found = said({"conversation": "yes"}, contextInfo=context)
    else:
        body = {"text": "yes", "contextInfo": context}
        found = said({"extendedTextMessage": body}, contextInfo=None)
    assert found.reply_to == "Q1"
    assert found.metadata == {"forwarded": True, "mentions": ["1@lid"]}


def test_a_context_may_be_anything():
    found = said({"extendedTextMessage": {"text": "yes", "contextInfo": 5}}, contextInfo=[])
    assert (found.reply_to, found.metadata) == (None, {})
    found = said({"conversation": "yes"}, contextInfo={"forwardingScore": "2", "stanzaId": ""})
    assert (found.reply_to, found.metadata) == (None, {"forwarded": True})


def test_an_empty_text_with_a_context_is_no_message():
    data = {"key": KEY, "message": {"conversation": ""}, "messageType": "conversation"}
    (found,) = parse({"event": "messages.upsert", "data": data}, SOURCE)
    assert isinstance(found, Ignored)
