"""What a close code asks a client to do, and how long it waits (protocol §3). No clock, no I/O.

Waits are spread by full jitter: clients that lost one gateway at the same moment do not come back
at the same moment.
"""

from dataclasses import dataclass
from enum import Enum

from chatsync.client.pace import Pace
from chatsync.errors import SessionEnded

ABNORMAL = 1006
TRY_AGAIN_LATER = 1013
INTERNAL_ERROR = 1011
# Errors of RFC 6455 §7.4.1 that would come again.
FATAL = frozenset({1002, 1003, 1007, 1009})
# What this side calls a server that sends what the protocol does not know.
VIOLATION = 4999

MAX_SECONDS = 30.0
FIRST_SECONDS = 5.0


class Step(Enum):
    """A client's next step after a connection has ended."""

    RETURN = "reconnect soon"
    BACK_OFF = "reconnect after a while"
    RENEW = "get a token, then reconnect"
    FORGET = "drop the cursor, reconnect, take a snapshot"
    STOP = "tell the application"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended. `window` is `closing.retryMs`, in seconds.

    A planned one is this side's own change of mind: the next connection follows at once.
    """

    code: int = ABNORMAL
    reason: str = ""
    window: tuple[float, float] | None = None
    is_planned: bool = False
    was_open: bool = False
    was_stable: bool = False


def step_after(code: int) -> Step:
    """The range decides, so that codes of later versions are understood."""
    match code // 100:
        case 41:
            return Step.RETURN
        case 42:
            return Step.BACK_OFF
        case 43:
            return Step.RENEW
        case 44:
            return Step.FORGET
        case 45:
            return Step.STOP
        case _ if code in FATAL:
            return Step.STOP
        case _ if code in {TRY_AGAIN_LATER, INTERNAL_ERROR} or code >= 3000:
            return Step.BACK_OFF
        case _:
            return Step.RETURN


class Backoff:
    """Counts connections in a row that came to nothing, and draws the waits after them."""

    def __init__(self, pace: Pace) -> None:
        self.failures = 0
        self._pace = pace

    def wait(self, ending: Ending, max_attempts: int | None) -> float:
        """Seconds until the next attempt. Raises SessionEnded when there is none."""
        if ending.is_planned:
            return 0.0
        if ending.was_stable:
            self.failures = 0
        self.failures += 1
        if max_attempts is not None and self.failures > max_attempts:
            message = f"gave up after {max_attempts} attempts: {ending.reason or ending.code}"
            raise SessionEnded(message, ending.code)
        return self._pace.uniform(*self._window(ending))

    def _window(self, ending: Ending) -> tuple[float, float]:
        grown = min(MAX_SECONDS, FIRST_SECONDS * 2 ** min(self.failures - 1, 10))
        if step_after(ending.code) is Step.BACK_OFF:
            least, most = ending.window or (1.0, MAX_SECONDS)
            # The whole window at once would make a single failure cost 15 seconds.
            return least, max(least, min(most, least + grown))
        if ending.window is None:
            return 0.0, grown
        least, most = ending.window
        return least, max(least, most if self.failures == 1 else max(most, grown))
