"""Whatever JSON comes: nothing raises, and every item of it is accounted for."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chatsync.providers.body import parse_json
from chatsync.providers.inbound import Item, Malformed
from chatsync.providers.whatsapp_cloud import parse, split
from whatsapp_samples import BUSINESS, SOURCE

# On a busy machine a slow example says nothing about the parser.
patient = settings(deadline=None)

# The words of the provider, so that chance finds its way into every branch.
TYPES = (
    *("text", "image", "voice", "location", "contacts", "interactive", "button", "order"),
    *("system", "reaction", "edit", "revoke", "unsupported", "media_placeholder"),
)
WORDS = (
    *TYPES,
    *("button_reply", "nfm_reply", "call_permission_reply", "user_changed_number"),
    *("sent", "failed", "deleted", "call", "RINGING", "connect", "terminate", "group", "history"),
    *("1700000000", "5511990000001", BUSINESS, "BR.1", "BR.ENT.1", "wamid.1", "M0", "", "{", "[1]"),
)
KEYS = (
    *TYPES,
    *("id", "from", "to", "type", "timestamp", "context", "errors", "error_data", "body", "name"),
    *("from_user_id", "to_user_id", "group_id", "message", "original_message_id", "message_id"),
    *("emoji", "referral", "referred_product", "history_context", "status", "recipient_id"),
    *("pricing", "conversation", "origin", "event", "direction", "wa_id", "user_id", "profile"),
    *("username", "threads", "messages", "category", "value", "contact", "phone_number"),
    *("response_json", "latitude", "longitude", "phones", "product_items", "previous", "current"),
)
LISTS = (
    *("messages", "message_echoes", "statuses", "calls", "user_preferences", "user_id_update"),
    *("state_sync", "errors"),
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(WORDS),
    st.just(1_700_000_000),
)
anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=20,
)


def objects(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required, optional=optional)


# An item whose id and time hold, so that what is wrong is found further in.
item = anything | objects(
    {"id": st.just("wamid.1"), "timestamp": st.just("1700000000"), "from": st.just("55119")},
    {key: anything for key in KEYS if key not in ("id", "timestamp", "from")}
    | {"type": st.sampled_from(TYPES)},
)
threads = st.lists(anything | objects({}, {"id": anything, "messages": st.lists(item)}), max_size=2)
value = anything | objects(
    {},
    {name: st.lists(item, max_size=3) | anything for name in LISTS}
    | {
        "contacts": st.lists(anything, max_size=3) | anything,
        "metadata": anything | st.just({"display_phone_number": BUSINESS}),
        "history": st.lists(anything | objects({}, {"threads": threads, "errors": anything})),
    },
)
change = anything | objects({}, {"field": anything, "value": value})
entry = anything | objects(
    {}, {"id": anything, "time": anything, "changes": st.lists(change, max_size=3) | anything}
)
deliveries = objects({}, {"entry": st.lists(entry, max_size=3) | anything})


def parsed(delivery: dict[str, Any]) -> list[Item]:
    parts = split(delivery)
    whole = [item for part in parts for item in parse({"entry": part.entries}, SOURCE)]
    stored = [item for part in parts for item in parse(parse_json(part.body()), SOURCE)]
    assert len(stored) == len(whole)
    return whole


@patient
@given(deliveries)
def test_no_delivery_makes_the_parser_fail(delivery: dict[str, Any]):
    for found in parsed(delivery):
        # Even the net below the parser must not be needed.
        assert not (isinstance(found, Malformed) and found.reason.startswith("the parser failed"))


@patient
@given(st.dictionaries(st.sampled_from(LISTS), st.lists(item, max_size=4), max_size=3))
def test_every_item_of_a_change_is_accounted_for(lists: dict[str, list[Any]]):
    found = parsed({"entry": [{"changes": [{"field": "messages", "value": lists}]}]})
    assert len(found) == (sum(map(len, lists.values())) or 1)


@patient
@given(st.lists(entry, max_size=4))
def test_no_entry_and_no_change_is_dropped(entries: list[Any]):
    kept = sum(len(part.entries) for part in split({"entry": entries}))
    assert kept == sum(map(changes_in, entries))
    assert len(parsed({"entry": entries})) >= kept


def changes_in(raw: Any) -> int:
    """How many changes an entry has; without any, the entry itself counts as one."""
    changes = raw.get("changes") if isinstance(raw, dict) else None
    return len(changes) if isinstance(changes, list) and changes else 1


@patient
@given(anything)
def test_items_can_be_stored_as_json(raw: Any):
    found = parsed({"entry": [{"changes": [{"field": "messages", "value": {"messages": [raw]}}]}]})
    for each in found:
        json.dumps(getattr(each, "metadata", None))
