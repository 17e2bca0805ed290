"""A duty is held by the connection it was begun on."""

from typing import cast

from chatsync.events.duty import LOOK_SECONDS, PATIENT_SECONDS, PRESSING, Duty
from chatsync.quick import QuickConnection

POLL_SECONDS = 10.0


class Backend:
    """Stands where a connection does: grants the duty, and says whether writers are silent."""

    def __init__(self, *, has_silent_writers: bool = False) -> None:
        self.asked: list[str] = []
        self._has_silent_writers = has_silent_writers

    async def ask(self, query: str) -> tuple[bool]:
        self.asked.append(query.removeprefix("select chatsync."))
        return (self.asked[-1] == "begin_duty()" or self._has_silent_writers,)


async def press(duty: Duty, backend: Backend, times: int = PRESSING) -> None:
    for _ in range(times):
        await duty.review(cast(QuickConnection, backend), found=True, is_pressed=True)


async def test_a_duty_ends_with_its_connection_and_is_begun_again_on_another() -> None:
    duty, old, new = Duty(), Backend(), Backend(has_silent_writers=True)
    await press(duty, old)
    assert (duty.is_on, duty.wait_seconds(POLL_SECONDS)) == (True, LOOK_SECONDS)
    await press(duty, new, 1)
    assert (duty.is_on, duty.wait_seconds(POLL_SECONDS)) == (False, PATIENT_SECONDS)
    assert new.asked == ["silent_writers()"]
    await press(duty, new)
    assert (duty.is_on, new.asked[-1]) == (True, "begin_duty()")
    await press(duty, new)
    assert duty.is_on


async def test_who_lost_a_duty_that_nobody_was_silent_for_looks_once_more() -> None:
    duty = Duty()
    await press(duty, Backend())
    another = cast(QuickConnection, Backend())
    assert await duty.review(another, found=False, is_pressed=False)
    assert duty.wait_seconds(POLL_SECONDS) == POLL_SECONDS
