"""What an operator is told: errors of the inbox, and news of its account."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from chatsync.providers.inbound import Malformed, Message, Notice
from chatsync.providers.whatsapp_cloud import parse
from whatsapp_samples import AT, RECEIVED_AT, SOURCE, change, delivery, items, message, only

ERROR = {"code": 131000, "title": "Went wrong", "error_data": {"details": "why"}}


def test_an_error_of_the_inbox_is_a_notice():
    notice = only(Notice, items(errors=[ERROR], contacts=[{"wa_id": "1"}]))
    assert (notice.kind, notice.title) == ("channel_error", "Went wrong")
    assert notice.data == {"code": 131000, "title": "Went wrong", "details": "why"}
    assert notice.occurred_at == RECEIVED_AT


def test_an_error_may_stand_beside_messages():
    said, notice = items(messages=[message("interactive")], errors=[ERROR])
    assert isinstance(said, Message)
    assert isinstance(notice, Notice)


def test_an_error_without_words_is_an_error():
    assert only(Notice, items(errors=[{}])).title == "error"


def ids(raw: dict[str, Any], received_at: datetime = RECEIVED_AT) -> list[str]:
    # As a delivery comes again: the same bytes, decoded anew.
    again = json.loads(json.dumps(raw))
    found = parse(again, replace(SOURCE, received_at=received_at))
    return [item.item_id for item in found if isinstance(item, Notice)]


def test_what_comes_again_has_the_same_id_and_what_is_new_has_another():
    raw = delivery(change(errors=[ERROR]))
    assert ids(raw) == ids(raw, RECEIVED_AT + timedelta(hours=3))
    assert ids(raw) != ids(delivery(change(errors=[ERROR | {"code": 1}])))
    assert ids(raw) != ids(raw, RECEIVED_AT + timedelta(days=1))
    assert all(len(one) == 32 for one in ids(raw))


def test_what_tells_its_time_or_its_message_has_the_same_id_for_good():
    later = RECEIVED_AT + timedelta(days=3)
    timed = delivery(change(errors=[ERROR]), time=1700000000)
    assert ids(timed) == ids(timed, later)
    assert ids(timed) != ids(delivery(change(errors=[ERROR]), time=1700000001))
    beside = delivery(change(messages=[message()], errors=[ERROR]))
    assert ids(beside) == ids(beside, later)
    assert ids(beside) != ids(delivery(change(messages=[message(id="2")], errors=[ERROR])))


def test_errors_of_one_change_are_told_apart():
    first, second = ids(delivery(change(errors=[ERROR, {"code": 1}])))
    assert first != second


def test_news_of_the_account_are_a_notice_under_their_event():
    value = {"event": "ACCOUNT_RESTRICTION", "restriction_info": []}
    raw = delivery({"field": "account_update", "value": value}, time=1700000000)
    notice = only(Notice, parse(raw, SOURCE))
    assert (notice.kind, notice.title) == ("account", "ACCOUNT_RESTRICTION")
    assert notice.occurred_at == AT
    assert notice.data == {"field": "account_update", "accountId": "waba", "value": value}
    assert ids(raw) == [notice.item_id]


@pytest.mark.parametrize("field", ["message_template_status_update", "phone_number_name_update"])
def test_news_without_an_event_are_told_under_their_field(field: str):
    notice = only(Notice, parse(delivery({"field": field, "value": {}}), SOURCE))
    assert (notice.title, notice.occurred_at) == (field, RECEIVED_AT)


@pytest.mark.parametrize("time", ["soon", 1_700_000_000_000, None, -1])
def test_an_entry_with_an_odd_time_counts_from_its_receipt(time: object):
    raw = delivery({"field": "account_update", "value": {}}, time=time)
    assert only(Notice, parse(raw, SOURCE)).occurred_at == RECEIVED_AT


@pytest.mark.parametrize("field", ["messages", "history", "calls", None, 5, "", []])
def test_a_field_of_items_without_items_is_no_news(field: object):
    raw = {"field": field, "value": {"event": "X"}}
    assert only(Malformed, parse(delivery(raw), SOURCE)).item == raw


@pytest.mark.parametrize("broken", [None, 5, "x", []])
def test_an_error_that_cannot_be_read_is_malformed(broken: object):
    assert only(Malformed, items(errors=[broken])).item == broken
