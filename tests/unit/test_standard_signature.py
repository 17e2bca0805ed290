"""Standard Webhooks: who may send, by the spec's own example and by recorded vectors.

CHATSYNC_FIXTURES names the folder of the vectors, which are kept outside the checkout.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsync.providers.standard import sign, signature_fits

# "chatsync chatsync chatsync" in base64.
SECRET = "whsec_Y2hhdHN5bmMgY2hhdHN5bmMgY2hhdHN5bmM="
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
BODY = b'{"type":"message"}'


def headers(signature: str, **changes: str) -> dict[str, str]:
    given = {"webhook-id": "w1", "webhook-timestamp": STAMP, "webhook-signature": signature}
    return given | {f"webhook-{name}": value for name, value in changes.items()}


def signed(**changes: str) -> dict[str, str]:
    return headers(sign("w1", STAMP, BODY, SECRET), **changes)


def fits(given: dict[str, str], *secrets: str, body: bytes = BODY, now: datetime = NOW) -> bool:
    return signature_fits(given, body, secrets or [SECRET], now)


def test_the_example_of_the_specification_fits():
    given = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    now = datetime.fromtimestamp(1_614_265_330, UTC)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert fits(given, secret, body=b'{"test": 2432232314}', now=now)


def test_what_was_signed_fits_and_nothing_else():
    assert fits(signed())
    assert not fits(signed(), body=BODY + b" ")
    assert not fits(signed(id="w2"))
    assert not fits(signed(timestamp=str(int(STAMP) + 1)))
    assert not fits(signed(), "whsec_b3RoZXI=")


def test_any_of_several_secrets_and_signatures_fits():
    good = sign("w1", STAMP, BODY, SECRET)
    assert fits(signed(), "whsec_b3RoZXI=", SECRET)
    assert fits(headers(f"v1a,AAAA v1,AAAA {good} v2,x"))
    assert not fits(headers("v1a," + good.removeprefix("v1,")))
    assert not fits(headers(good.removeprefix("v1,")))


@pytest.mark.parametrize(("seconds", "is_fresh"), [(300, True), (301, False)])
def test_a_delivery_is_fresh_for_five_minutes_both_ways(seconds: int, is_fresh: bool):
    late = timedelta(seconds=seconds)
    assert fits(signed(), now=NOW + late) is is_fresh
    assert fits(signed(), now=NOW - late) is is_fresh


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_every_header_is_needed(name: str):
    given = signed()
    del given[name]
    assert not fits(given)
    assert not fits(given | {name: ""})


@pytest.mark.parametrize("stamp", ["soon", "-1", "1e9", " 1", "9" * 5000, "\u0661"])
def test_a_strange_timestamp_is_wrong_and_no_error(stamp: str):
    given = headers(sign("w1", stamp, BODY, SECRET), timestamp=stamp)
    assert not fits(given)


def test_a_secret_is_base64_or_a_text():
    bare = SECRET.removeprefix("whsec_")
    assert sign("w1", STAMP, BODY, bare) == sign("w1", STAMP, BODY, SECRET)
    for text in ("not base64!", "segredo é este"):
        assert fits(headers(sign("w1", STAMP, BODY, text)), text)


@pytest.mark.parametrize("secret", ["", "whsec_"])
def test_an_empty_secret_lets_nobody_in(secret: str):
    assert not fits(headers(sign("w1", STAMP, BODY, secret)), secret)


@given(
    values=st.dictionaries(st.sampled_from(list(signed())), st.text() | st.just(STAMP)),
    secrets=st.lists(st.text()),
)
def test_no_header_and_no_secret_is_an_error(values: dict[str, str], secrets: list[str]):
    assert not signature_fits(signed() | values, BODY + b"x", secrets, NOW)


def vectors() -> dict[str, Any]:
    if "CHATSYNC_FIXTURES" not in os.environ:
        pytest.skip("CHATSYNC_FIXTURES does not name a folder of recorded vectors")
    folder = Path(os.environ["CHATSYNC_FIXTURES"]) / "whatsapp_cloud" / "vectors"
    return json.loads((folder / "standard_webhooks_v1.json").read_bytes())


def test_the_recorded_vectors_are_judged_as_they_should_be():
    known = vectors()
    now = datetime.fromtimestamp(known["now"], UTC)
    judged = {
        case["name"]: fits(case["headers"], known["secret"], body=case["body"].encode(), now=now)
        for case in known["cases"]
    }
    assert judged == {case["name"]: case["valid"] for case in known["cases"]}
