"""When a stamper looks at the outbox so often that foreign writers need not ring.

NOTIFY makes the commits of all who ring wait for each other. So while much is written, one stamper
is on duty: it looks all the time, and writers see that and are silent. A writer that is silent and
commits after the duty ended is waited for.
"""

from enum import Enum, auto

from chatsync.quick import QuickConnection

# So many stamps in a row that were asked for again before they had ended.
PRESSING = 4
# Duty ends when so many looks more found nothing than found something: below some 300 events a
# second bells cost less, and without any event that is 30 ms.
EMPTY_LOOKS = 16
# How often to look while on duty and nothing came; each look costs two processes some 0.2 ms.
LOOK_SECONDS = 0.001
# Afterwards, for who is silent and does not commit: soon, then ever more seldom.
PATIENT_SECONDS = 0.002


class _State(Enum):
    OFF = auto()
    ON = auto()
    # Off, but somebody may still commit without ringing.
    LEAVING = auto()


class Duty:
    """Whether the stamper of this process is on duty."""

    def __init__(self) -> None:
        self._state, self._connection = _State.OFF, None
        self._pressing = 0
        self._empty_looks = 0
        self._patience_seconds = 0.0
        # Which holds the lock that writers look for.
        self._connection: QuickConnection | None = None

    @property
    def is_on(self) -> bool:
        return self._state is _State.ON

    def wait_seconds(self, poll_seconds: float) -> float:
        """How long to wait for a bell before looking."""
        match self._state:
            case _State.ON:
                return LOOK_SECONDS
            case _State.LEAVING:
                return min(poll_seconds, self._patience_seconds)
            case _State.OFF:
                return poll_seconds

    async def review(self, connection: QuickConnection, *, found: bool, is_pressed: bool) -> bool:
        """Go on or off duty after a stamp; whether to stamp again before anything else.

        `is_pressed`: there was more to do before it had ended.
        """
        if self._state is _State.ON and connection is not self._connection:
            # The duty ended with the connection it was begun on: by now all ring again.
            self._patience_seconds = PATIENT_SECONDS
            return await self._leave(connection)
        if self._state is _State.ON:
            self._empty_looks = max(0, self._empty_looks - 1) if found else self._empty_looks + 1
            if self._empty_looks < EMPTY_LOOKS:
                return found
            await connection.ask("select chatsync.end_duty()")
            self._patience_seconds = PATIENT_SECONDS
            return await self._leave(connection)
        self._pressing = self._pressing + 1 if found and is_pressed else 0
        if self._pressing >= PRESSING:
            await self._begin(connection)
        elif self._state is _State.LEAVING and not found:
            self._patience_seconds *= 2
            return await self._leave(connection)
        return False

    def end(self) -> None:
        """The connection is ended, and the duty with it."""
        self._state, self._connection = _State.OFF, None
        self._pressing = 0

    async def _begin(self, connection: QuickConnection) -> None:
        self._pressing = self._empty_looks = 0
        row = await connection.ask("select chatsync.begin_duty()")
        if row and row[0]:
            self._state, self._connection = _State.ON, connection

    async def _leave(self, connection: QuickConnection) -> bool:
        row = await connection.ask("select chatsync.silent_writers()")
        self._state = _State.LEAVING if row and row[0] else _State.OFF
        # Whoever was silent has committed by now: it is found by a look that begins after this.
        return self._state is _State.OFF
