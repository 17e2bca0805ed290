"""Workers that are killed, paused and cut off at each step of both kinds of handler.

Whatever becomes of one worker, another one ends the work, and the history of it all is checked.
"""

import signal
from collections.abc import Callable

import pytest

from crash.points import POINTS, points
from crash.scene import Scene
from service.harness import wait_for
from service.worker_api import is_empty

# How many of its two batches a paused worker can no longer settle when it wakes up. What was
# already on its way into the database is done, but for a transaction that was not yet committed.
FENCED = {"claiming": 2, "begun": 2, "done": 2, "settling": 1, "committing": 0}


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_is_killed(
    scene: Scene, point: str, record_property: Callable[[str, object], None]
) -> None:
    with scene.stopped_at(point):
        scene.spare.say()
        scene.doomed.kill()
        scene.doomed.wait()
    scene.producer.enqueue(2)
    wait_for(lambda: is_empty(scene.owner), "the end of the queues")
    record_property("seconds_to_take_over", scene.seconds_to_take_over())
    scene.spare.end()
    assert scene.findings() == {}


@pytest.mark.parametrize("point", points("done", "committing"))
def test_a_worker_that_is_cut_off_from_the_database(scene: Scene, point: str) -> None:
    with scene.stopped_at(point):
        scene.cut_off()
        scene.spare.say()
        scene.doomed.say()
    scene.producer.enqueue(2)
    wait_for(lambda: is_empty(scene.owner), "the end of the queues")
    end_both(scene)
    assert scene.findings() == {}


@pytest.mark.parametrize("point", points("done"))
def test_a_worker_that_is_paused_for_longer_than_its_lease(scene: Scene, point: str) -> None:
    sleep_through_the_lease(scene, point)
    wait_for(
        lambda: scene.doomed.log.read_text().count("lease_fenced") >= FENCED[point], "the fence"
    )
    end_both(scene)
    assert scene.findings() == {}


def test_a_queue_without_a_fence_is_found_out(scene: Scene) -> None:
    """These tests can fail: here settle() takes whatever is settled under whatever lease."""
    scene.without_fence()
    sleep_through_the_lease(scene, "done")
    end_both(scene)

    findings = scene.findings()
    assert findings.keys() == {"booked"}
    assert {violation.rule for violation in findings["booked"]} >= {"doubled", "not fenced"}


def sleep_through_the_lease(scene: Scene, point: str) -> None:
    """The doomed worker sleeps at a point until the spare one has done all the work."""
    with scene.stopped_at(point):
        scene.spare.say()
        scene.doomed.kill(signal.SIGSTOP)
        scene.doomed.say()
    scene.expire_lease()
    if point == "settling":
        # PostgreSQL ends it after ten seconds; until then nobody gets by.
        wait_for(lambda: not scene.has_idle_transaction(), "the end of the open transaction")
    scene.producer.enqueue(2)
    wait_for(lambda: is_empty(scene.owner), "the end of the queues")
    scene.doomed.kill(signal.SIGCONT)


def end_both(scene: Scene) -> None:
    for worker in (scene.doomed, scene.spare):
        worker.end()
