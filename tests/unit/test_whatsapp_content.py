"""What messages of the Cloud API say, by their types."""

from typing import Any

import pytest

from chatsync.providers.inbound import Message
from whatsapp_samples import ALICE, items, message, only


def content(kind: object, body: object = ..., **others: object) -> tuple[str, str | None, Any]:
    raw = message(kind, **({str(kind): body} | others))
    found = only(Message, items(messages=[raw], contacts=[ALICE]))
    assert not found.is_placeholder
    return found.type, found.content, found.metadata


FILE = {"id": "m1", "mime_type": "x/y", "sha256": "c2hh"}
KEPT = {"id": "m1", "mime": "x/y", "sha256": "c2hh"}


@pytest.mark.parametrize("kind", ["image", "video", "audio", "document", "sticker"])
def test_media_are_named_and_captioned(kind: str):
    assert content(kind, FILE) == (kind.upper(), None, {"media": KEPT})
    assert content(kind, FILE | {"caption": "see"})[1] == "see"
    assert content(kind, FILE | {"caption": ""})[1] is None


def test_media_keep_what_is_known_of_their_file():
    more = {
        "url": "https://x.example/1",
        "filename": "a.pdf",
        "file_size": "303833",
        "duration": 4,
        "voice": False,
        "animated": True,
    }
    assert content("document", FILE | more)[2]["media"] == KEPT | {
        "url": "https://x.example/1",
        "filename": "a.pdf",
        "size": 303833,
        "seconds": 4,
        "voice": False,
        "animated": True,
    }


def test_media_leave_out_what_is_of_another_type():
    odd = {"id": 5, "mime_type": None, "file_size": "big", "duration": True, "voice": "yes"}
    assert content("audio", odd) == ("AUDIO", None, {})


def test_a_recording_under_its_old_name_is_a_voice_message():
    assert content("voice", FILE) == ("AUDIO", None, {"media": KEPT | {"voice": True}})


def test_a_place_may_lie_on_the_equator():
    place = {"latitude": 0.0, "longitude": 0, "name": "Null", "address": "", "url": "https://x"}
    kept = {"latitude": 0.0, "longitude": 0, "name": "Null", "url": "https://x"}
    assert content("location", place) == ("LOCATION", None, {"location": kept})


@pytest.mark.parametrize("broken", [{}, {"latitude": 1}, {"latitude": True, "longitude": 1}])
def test_a_place_without_its_degrees_is_no_place(broken: object):
    metadata = {"providerType": "location", "subtype": "location"}
    assert content("location", broken) == ("UNSUPPORTED", None, metadata)


def test_cards_hold_names_and_numbers():
    cards = [
        {
            "name": {"formatted_name": "Bo Li", "first_name": "Bo"},
            "phones": [{"phone": "+1 555"}, {"wa_id": "1556"}, {}, 5],
            "emails": [{"email": "bo@x.example"}, {}],
            "org": {"company": "Li Ltd"},
        },
        {"name": {"first_name": "Cy", "last_name": "Ho"}},
        {"phones": 5},
        5,
    ]
    assert content("contacts", cards) == (
        "CONTACTS",
        None,
        {
            "cards": [
                {
                    "name": "Bo Li",
                    "phones": ["+1 555", "1556"],
                    "emails": ["bo@x.example"],
                    "org": "Li Ltd",
                },
                {"name": "Cy Ho", "phones": []},
                {"name": None, "phones": []},
            ]
        },
    )


@pytest.mark.parametrize("kind", ["button_reply", "list_reply"])
def test_a_chosen_button_says_its_title_and_its_value(kind: str):
    body = {"type": kind, kind: {"id": "yes-1", "title": "Yes"}}
    metadata = {"subtype": kind, "replyValue": "yes-1"}
    assert content("interactive", body) == ("INTERACTIVE", "Yes", metadata)
    assert content("interactive", {"type": kind, kind: {}})[1:] == (None, {"subtype": kind})


def test_a_quick_reply_of_a_template_says_its_text_and_its_payload():
    metadata = {"subtype": "quick_reply", "replyValue": "stop"}
    body = {"payload": "stop", "text": "No thanks"}
    assert content("button", body) == ("INTERACTIVE", "No thanks", metadata)


def test_a_permission_to_call_is_a_reply_without_text():
    body = {"type": "call_permission_reply", "call_permission_reply": {"response": "accept"}}
    metadata = {"subtype": "call_permission_reply", "replyValue": "accept"}
    assert content("interactive", body) == ("INTERACTIVE", None, metadata)


def form(answers: object) -> dict[str, Any]:
    reply = {"name": "flow", "body": "Sent", "response_json": answers}
    kind, text, metadata = content("interactive", {"type": "nfm_reply", "nfm_reply": reply})
    assert (kind, text, metadata.pop("subtype")) == ("INTERACTIVE", "Sent", "nfm_reply")
    return metadata


@pytest.mark.parametrize(
    ("answers", "decoded"),
    [('{"a": "1"}', {"a": "1"}), ("[1, 2]", [1, 2]), ('"x"', "x"), ("null", None), ("0", 0)],
)
def test_the_answers_of_a_form_may_be_any_json(answers: str, decoded: object):
    assert form(answers) == {"form": decoded}


@pytest.mark.parametrize(
    "answers", ["", "{", "NaN", "[1e999]", "[" * 100 + "]" * 100, "[" * 9999 + "]" * 9999]
)
def test_answers_that_cannot_be_decoded_are_kept_as_text(answers: str):
    assert form(answers) == {"formText": answers}


def test_answers_hold_nothing_that_cannot_be_stored():
    assert form('{"a\\u0000": ["\\ud800"]}') == {"form": {"a\ufffd": ["\ufffd"]}}


def test_answers_that_are_no_string_are_kept_and_absent_ones_are_not():
    assert form({"a": 1}) == {"form": {"a": 1}}
    assert form(None) == {}


def test_an_order_lists_its_items():
    item = {"product_retailer_id": "p1", "quantity": 2, "item_price": 30.5, "currency": "BRL"}
    body = {"catalog_id": "c1", "text": "", "product_items": [item, 5]}
    listed = {"productRetailerId": "p1", "quantity": 2, "itemPrice": 30.5, "currency": "BRL"}
    metadata = {"order": {"catalogId": "c1", "items": [listed]}}
    assert content("order", body) == ("ORDER", None, metadata)
    assert content("order", body | {"text": "today?"})[1] == "today?"
    assert content("order", {})[2] == {"order": {"items": []}}


def test_a_system_message_says_what_happened():
    body = {"type": "customer_identity_changed", "body": "Alice's code changed"}
    metadata = {"subtype": "customer_identity_changed"}
    assert content("system", body) == ("SYSTEM", "Alice's code changed", metadata)
    assert content("system", {}) == ("SYSTEM", None, {})


@pytest.mark.parametrize("body", [..., None, 5, "x", [], [5]])
@pytest.mark.parametrize(
    "kind",
    [
        *("text", "image", "video", "audio", "voice", "document", "sticker", "location", "order"),
        *("contacts", "interactive", "button", "system", "reaction", "edit", "revoke"),
        *("request_welcome", "no such thing"),
    ],
)
def test_a_message_without_what_its_type_promises_keeps_its_place(kind: str, body: object):
    metadata = {"providerType": kind, "subtype": kind}
    assert content(kind, body) == ("UNSUPPORTED", None, metadata)


@pytest.mark.parametrize("body", [{}, {"body": None}, {"body": 5}])
def test_a_text_message_without_text_keeps_its_place(body: object):
    assert content("text", body)[0] == "UNSUPPORTED"
    assert content("text", {"body": ""}) == ("TEXT", None, {})


@pytest.mark.parametrize("kind", [None, 5, [], {}, True, ...])
def test_a_message_without_a_type_keeps_its_place(kind: object):
    assert content(kind) == ("UNSUPPORTED", None, {})


def test_an_interactive_message_of_an_unknown_type_names_it():
    body: dict[str, Any] = {"type": "product_reply", "product_reply": {"id": "1"}}
    metadata = {"providerType": "interactive", "subtype": "product_reply"}
    assert content("interactive", body) == ("UNSUPPORTED", None, metadata)
    assert content("interactive", {"type": "list_reply"})[2]["subtype"] == "list_reply"


def test_what_the_provider_does_not_support_is_named_if_it_is():
    plain = content("unsupported", errors=[{"code": 131051, "title": "Unsupported"}])
    error = {"code": 131051, "title": "Unsupported", "details": None}
    assert plain == ("UNSUPPORTED", None, {"providerType": "unsupported", "errors": [error]})
    named = content("unsupported", {"type": "poll"}, text={"body": "x"})
    assert named == ("UNSUPPORTED", None, {"providerType": "unsupported", "subtype": "poll"})
