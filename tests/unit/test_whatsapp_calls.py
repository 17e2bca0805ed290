"""The steps of calls of the Cloud API."""

from typing import Any

import pytest

from chatsync.providers.inbound import Call, Contact, Malformed
from whatsapp_samples import ALICE, AT, BUSINESS, PHONE, items, only, without_gaps

WHO = Contact((PHONE,), "Alice", "5511990000001")


def call(**changes: object) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": "wacid.1",
        "from": "5511990000001",
        "to": BUSINESS,
        "event": "connect",
        "timestamp": "1700000000",
        "direction": "USER_INITIATED",
    }
    return without_gaps(said | changes)


def found(**changes: object) -> Call:
    return only(Call, items("calls", calls=[call(**changes)], contacts=[ALICE]))


def test_a_call_is_offered_by_who_makes_it():
    assert found(session={"sdp": "v=0"}) == Call("wacid.1", WHO, "INBOUND", "offered", AT)


def test_a_call_of_the_business_is_with_whom_it_calls():
    ours = {"from": BUSINESS, "to": "5511990000001"}
    said = found(direction="BUSINESS_INITIATED", **ours)
    assert (said.direction, said.contact) == ("OUTBOUND", WHO)
    # Where nobody says who began, the inbox's own number does.
    assert found(direction=..., **ours) == said
    assert found(direction=...).direction == "INBOUND"


def test_the_end_of_a_call_says_how_it_ended():
    ended = found(
        event="terminate",
        status="COMPLETED",
        duration=120,
        biz_opaque_callback_data="ours-1",
        errors=[{"code": 138}],
    )
    assert ended.step == "ended"
    assert ended.details == {
        "status": "completed",
        "seconds": 120,
        "callbackData": "ours-1",
        "errors": [{"code": 138, "title": None, "details": None}],
    }


@pytest.mark.parametrize(
    ("given", "step"),
    [("RINGING", "ringing"), ("ACCEPTED", "accepted"), ("REJECTED", "ended")],
)
def test_a_status_of_a_call_is_a_step_and_no_status_of_a_message(given: str, step: str):
    raw = {
        "id": "wacid.1",
        "type": "call",
        "status": given,
        "timestamp": "1700000000",
        "recipient_id": "5511990000001",
    }
    said = only(Call, items("calls", statuses=[raw], contacts=[ALICE]))
    details = {"status": given.lower()}
    assert said == Call("wacid.1", WHO, "OUTBOUND", step, AT, details)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "broken",
    [
        call(id=...),
        call(event="hum"),
        call(event=5),
        call(timestamp="soon"),
        5,
        None,
    ],
    ids=ascii,
)
def test_a_call_that_cannot_be_understood_is_malformed(broken: object):
    assert only(Malformed, items("calls", calls=[broken], contacts=[ALICE])).item == broken


@pytest.mark.parametrize("status", ["LOST", "", 5, None, []])
def test_an_unknown_status_of_a_call_is_malformed(status: object):
    raw = {"id": "wacid.1", "type": "call", "status": status, "recipient_id": "1"}
    assert "status" in only(Malformed, items("calls", statuses=[raw])).reason


def test_a_call_with_nobody_is_malformed():
    raw = call(**{"from": ...})
    assert "nobody" in only(Malformed, items("calls", calls=[raw])).reason
