"""How far messages have come, as the Cloud API says it."""

from typing import Any

import pytest

from chatsync.providers.inbound import Ignored, Malformed, Status
from whatsapp_samples import AT, items, only, without_gaps


def status(**changes: object) -> dict[str, Any]:
    said = {"id": "wamid.9", "status": "read", "timestamp": "1700000000", "recipient_id": "55119"}
    return without_gaps(said | changes)


def found(**changes: object) -> Status:
    return only(Status, items(statuses=[status(**changes)]))


@pytest.mark.parametrize("given", ["sent", "delivered", "read", "played", "failed"])
def test_a_status_says_how_far_a_message_has_come(given: str):
    assert found(status=given) == Status("wamid.9", given.upper(), AT)  # pyright: ignore[reportArgumentType]


def test_a_failure_says_why():
    error = {"code": 7, "title": "Undeliverable", "error_data": {"details": "no such number"}}
    kept = {"code": 7, "title": "Undeliverable", "details": "no such number"}
    assert found(status="failed", errors=[error, {"code": 8}]).error == kept
    kept = {"code": None, "title": "gone", "details": None}
    assert found(status="failed", errors=[{"message": "gone"}]).error == kept


@pytest.mark.parametrize("errors", [None, [], {}, "x", [5], [None]])
def test_a_failure_without_a_readable_reason_is_still_a_failure(errors: object):
    failure = found(status="failed", errors=errors)
    assert (failure.status, failure.error) == ("FAILED", None)


def test_a_status_keeps_its_price_its_origin_and_what_we_sent_along():
    told = found(
        pricing={"billable": True, "pricing_model": "PMP", "category": "service"},
        conversation={"id": "c", "origin": {"type": "service"}, "expiration_timestamp": 1},
        biz_opaque_callback_data="ours-1",
    )
    assert told.details == {
        "pricing": {"billable": True, "pricingModel": "PMP", "category": "service"},
        "conversationOrigin": "service",
        "callbackData": "ours-1",
    }


def test_a_status_in_a_group_says_whose_it_is():
    told = found(
        recipient_type="group",
        recipient_id="group-1",
        recipient_participant_id="5511990000001",
        recipient_participant_user_id="BR.1",
    )
    recipient = {"groupId": "group-1", "phone": "5511990000001", "bsuid": "BR.1"}
    assert told.details == {"recipient": recipient}


def test_details_of_the_wrong_kind_are_no_details():
    odd = {"pricing": 5, "conversation": {"origin": []}, "biz_opaque_callback_data": {}}
    assert found(**odd).details == {}


@pytest.mark.parametrize("given", ["deleted", "warning"])
def test_a_status_of_older_versions_means_nothing(given: str):
    assert given in only(Ignored, items(statuses=[status(status=given)])).reason


@pytest.mark.parametrize("given", ["Read", "READ", "RINGING", "gone", "", None, 5, [], {}, ...])
def test_an_unknown_status_is_no_status(given: object):
    assert "status" in only(Malformed, items(statuses=[status(status=given)])).reason


@pytest.mark.parametrize("broken", [status(id=...), status(id=5), status(timestamp="soon"), 5])
def test_a_status_that_cannot_be_understood_is_malformed_alone(broken: object):
    first, middle, last = items(statuses=[status(), broken, status(status="sent")])
    assert isinstance(first, Status)
    assert isinstance(last, Status)
    assert isinstance(middle, Malformed)
    assert middle.item == broken
