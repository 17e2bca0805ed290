"""Who is online in this process: sessions per user, with a grace for reloads. No clock, no I/O.

A session that ended lingers for the grace; one that begins in that time takes its place, so that a
reload changes nothing and is told to nobody.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from chatsync.gateway.presence.standing import STATUSES, Standing, User


@dataclass(slots=True)
class _Sessions:
    """The sessions of one user: those that are here, and those that ended a moment ago."""

    name: str | None
    here: dict[str, str] = field(default_factory=dict[str, str])
    lingering: deque[tuple[float, str]] = field(default_factory=deque[tuple[float, str]])


class Roster:
    """`now` is a monotonic clock in seconds, `grace` how long an ended session lingers."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._users: dict[User, _Sessions] = {}
        self._owners: dict[str, User] = {}
        # When somebody stops lingering, in order, since the grace is the same for all.
        self._ends: deque[tuple[float, User]] = deque()

    def enter(self, session_id: str, user: User, name: str | None) -> None:
        sessions = self._users.setdefault(user, _Sessions(name))
        sessions.name = name or sessions.name
        before = sessions.lingering.popleft()[1] if sessions.lingering else None
        # Somebody who is busy stays so over a reload; whoever reloads is not away.
        sessions.here[session_id] = "busy" if before == "busy" else "online"
        self._owners[session_id] = user

    def leave(self, session_id: str, now: float) -> User | None:
        """The session ended; returns whose it was."""
        user = self._owners.pop(session_id, None)
        if user is not None:
            sessions = self._users[user]
            sessions.lingering.append((now + self._grace, sessions.here.pop(session_id)))
            self._ends.append((now + self._grace, user))
        return user

    def set_status(self, session_id: str, status: str) -> User | None:
        """Returns whose session it is; None for one that does not count."""
        user = self._owners.get(session_id)
        if user is not None:
            self._users[user].here[session_id] = status
        return user

    def tick(self, now: float) -> set[User]:
        """Let time pass; returns of whom something ended."""
        ended: set[User] = set()
        while self._ends and self._ends[0][0] <= now:
            _, user = self._ends.popleft()
            sessions = self._users.get(user)
            if sessions is None:
                continue
            while sessions.lingering and sessions.lingering[0][0] <= now:
                sessions.lingering.popleft()
                ended.add(user)
            if not sessions.here and not sessions.lingering:
                del self._users[user]
        return ended

    @property
    def due_at(self) -> float | None:
        """When `tick` has something to do at the latest."""
        return self._ends[0][0] if self._ends else None

    def users(self) -> Iterable[User]:
        return self._users.keys()

    def standing(self, user: User) -> Standing | None:
        sessions = self._users.get(user)
        if sessions is None:
            return None
        statuses = [*sessions.here.values(), *(status for _, status in sessions.lingering)]
        return Standing(min(statuses, key=STATUSES.index), len(statuses), sessions.name)
