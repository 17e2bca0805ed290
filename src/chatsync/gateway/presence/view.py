"""Who is online in a tenant, as this gateway knows it: its own sessions, and what others wrote.

Also the frames that say so, each encoded once for all who watch. No I/O.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chatsync.gateway import frames
from chatsync.gateway.presence.standing import Standing, joined

# So many differences at once are told as the whole list, where that is not longer.
MANY = 50


@dataclass(frozen=True, slots=True)
class Told:
    """What another node wrote of a user; `seen_at` in seconds since 1970."""

    user_id: str
    node_id: str
    standing: Standing
    seen_at: float


class View:
    """The presence of one tenant. `wall` is the time in seconds since 1970, to be shown."""

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.topic = f"presence:{tenant_id}"
        self.watchers = 0
        self.is_loaded = False
        self._own: dict[str, Standing] = {}
        self._others: dict[str, dict[str, Standing]] = {}
        self._shown: dict[str, tuple[Standing, str]] = {}
        self._frames: dict[str, bytes] = {}
        self._state: bytes | None = None

    def load(self, rows: Iterable[Told], wall: float, *, keeps_missing: bool) -> set[str]:
        """Take what the other nodes wrote; returns who changed.

        `keeps_missing`: the table was emptied, and who is not in it may only not be back yet.
        """
        others: dict[str, dict[str, Standing]] = {}
        seen_at: dict[str, float] = {}
        for row in rows:
            others.setdefault(row.user_id, {})[row.node_id] = row.standing
            seen_at[row.user_id] = max(row.seen_at, seen_at.get(row.user_id, 0.0))
        if keeps_missing:
            # By user, and not by node: whoever came back may have done so elsewhere.
            others = {**self._others, **others}
        concerned = self._others.keys() | others.keys()
        self._others = others
        if not self.is_loaded:
            self._frames.clear()
            self.is_loaded = True
        self._forget_absent()
        return {user for user in concerned if self._look(user, seen_at.get(user, wall))}

    def set_own(self, user_id: str, standing: Standing | None, wall: float) -> bool:
        """Take what this process says of a user; returns whether that changed anything."""
        if standing is None:
            self._own.pop(user_id, None)
        else:
            self._own[user_id] = standing
        return self._look(user_id, wall)

    def users(self) -> list[Mapping[str, object]]:
        """Everybody who is online, as the wire spells it."""
        return [_entry(user, *shown) for user, shown in self._shown.items()]

    def differences(self, user_ids: set[str]) -> list[bytes]:
        """Frames for what changed, or the list where that is shorter."""
        if len(user_ids) > max(MANY, len(self._shown) // 2):
            return [self.state()]
        return [self._update(user) for user in user_ids]

    def state(self) -> bytes:
        """The frame with the full list."""
        if self._state is None:
            self._state = _frame("presence:state", self.topic, {"users": self.users()})
        return self._state

    def _look(self, user_id: str, seen_at: float) -> bool:
        own, others = self._own.get(user_id), self._others.get(user_id, {})
        standing = joined([*([] if own is None else [own]), *others.values()])
        shown = self._shown.get(user_id)
        if standing == (shown[0] if shown else None):
            return False
        self._state = None
        moment = frames.timestamp(seen_at)
        if standing is None:
            self._shown.pop(user_id, None)
            entry = _entry(user_id, shown[0] if shown else None, moment)
            entry |= {"status": "offline", "sessions": 0}
        else:
            self._shown[user_id] = (standing, moment)
            entry = _entry(user_id, standing, moment)
        self._frames[user_id] = _frame("presence:update", self.topic, entry)
        return True

    def _update(self, user_id: str) -> bytes:
        frame = self._frames.get(user_id)
        if frame is None:
            shown = self._shown.get(user_id)
            standing, moment = shown or (None, frames.timestamp())
            frame = _frame("presence:update", self.topic, _entry(user_id, standing, moment))
            self._frames[user_id] = frame
        return frame

    def _forget_absent(self) -> None:
        # Whoever has not been told of them by now is told that they are gone, without the name.
        self._frames = {user: self._frames[user] for user in self._frames if user in self._shown}


def _entry(user_id: str, standing: Standing | None, moment: str) -> dict[str, object]:
    entry: dict[str, object] = {"userId": user_id}
    if standing is not None and standing.name is not None:
        entry["name"] = standing.name
    status, sessions = (standing.status, standing.sessions) if standing else ("offline", 0)
    return entry | {"status": status, "sessions": sessions, "lastSeenAt": moment}


def _frame(event: str, topic: str, data: object) -> bytes:
    return frames.encode("ephemeral", event=event, topic=topic, data=data)
