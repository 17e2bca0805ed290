"""How acknowledgements are timed, on a clock of the test's own."""

import pytest

from chatsync.gateway.acknowledgement import Acknowledgement
from chatsync.gateway.heartbeat import POOR_RTT_MS, Heartbeat
from chatsync.telemetry import metrics


def timed() -> tuple[float, float]:
    """How many acknowledgements were timed, and their seconds in all."""
    samples = {
        sample.name: sample.value
        for sample in next(iter(metrics.WRITE_TO_ACK_SECONDS.collect())).samples
    }
    name = "chatsync_write_to_ack_seconds"
    return samples[f"{name}_count"], samples[f"{name}_sum"]


def rise(before: tuple[float, float]) -> tuple[int, float]:
    count, seconds = timed()
    return round(count - before[0]), round(seconds - before[1], 6)


def acknowledging() -> Acknowledgement:
    acknowledgement = Acknowledgement(5.0)
    acknowledgement.begin(10)
    acknowledgement.acknowledge(10, 10, 0.0)
    return acknowledgement


def test_an_acknowledgement_is_timed_from_the_write_that_it_answers():
    it, before = acknowledging(), timed()
    it.written(12, 1.0)
    it.written(15, 2.0)
    it.acknowledge(11, 15, 3.0)
    assert rise(before) == (0, 0)
    it.acknowledge(13, 15, 4.0)
    assert rise(before) == (1, 3.0)


def test_an_acknowledgement_of_what_was_timed_already_is_not_timed_again():
    it, before = acknowledging(), timed()
    it.written(12, 1.0)
    it.acknowledge(12, 12, 1.5)
    it.acknowledge(12, 12, 9.0)
    assert rise(before) == (1, 0.5)


def test_who_does_not_acknowledge_is_not_timed():
    it, before = Acknowledgement(5.0), timed()
    it.begin(10)
    it.written(12, 1.0)
    it.acknowledge(12, 12, 60.0)
    assert rise(before) == (0, 0)
    assert it.told == 12


def test_a_reset_forgets_what_was_awaited():
    it, before = acknowledging(), timed()
    it.written(12, 1.0)
    it.begin(3)
    it.acknowledge(20, 20, 60.0)
    assert rise(before) == (0, 0)


@pytest.mark.parametrize(
    ("rtt", "quality"), [(0.1, "good"), (POOR_RTT_MS / 1000, "poor")], ids=["near", "far"]
)
def test_quality_follows_the_way_of_a_ping(rtt: float, quality: str):
    heartbeat = Heartbeat(25.0)
    assert heartbeat.quality == "good"
    heartbeat.answer(heartbeat.beat(0.0), rtt)
    assert heartbeat.quality == quality


def test_a_missed_ping_makes_the_quality_poor():
    heartbeat = Heartbeat(25.0)
    heartbeat.beat(0.0)
    assert heartbeat.quality == "good"
    heartbeat.beat(25.0)
    assert heartbeat.quality == "poor"
    heartbeat.answer(None, 26.0)
    assert heartbeat.quality == "good"
