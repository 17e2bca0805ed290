"""The topics that a client wants to hear, as the next connection will ask for them. No I/O."""

from collections.abc import Iterable, Sequence

from chatsync.client.entries import Frame
from chatsync.errors import ChatsyncError, Forbidden

CHANGES = frozenset({"subscribe", "unsubscribe"})


class Topics:
    """Names as they were given, until a server has spelled them out."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names: list[str] = list(dict.fromkeys(names))
        # The request that the present connection was made for.
        self._carried_out = 0

    def spelled(self, granted: Sequence[str], refused: Sequence[str]) -> None:
        """A server has named what it heard; what it refused is asked for again next time."""
        if granted or refused:
            self.names = list(dict.fromkeys([*granted, *refused]))

    def change(self, kind: str, names: Iterable[str]) -> bool:
        """Carry out a granted `subscribe` or `unsubscribe`; tells whether anything changed."""
        named = list(names)
        before = self.names
        if kind == "subscribe":
            self.names = list(dict.fromkeys([*before, *named]))
        else:
            self.names = [name for name in before if name not in named]
        return self.names != before

    def carry_out(self, request: Frame) -> bool:
        """Change the topics by a request, once; tells whether a new connection is needed."""
        if request["id"] == self._carried_out:
            return False
        self._carried_out = request["id"]
        return self.change(request["type"], request["topics"])

    def outcome(self, request: Frame, refused: Sequence[str], cursor: str) -> Frame | ChatsyncError:
        """The answer to a change that a whole new connection has carried out."""
        wanted: list[str] = request["topics"]
        denied = [name for name in wanted if name in refused]
        if denied and request["type"] == "subscribe":
            self.change("unsubscribe", denied)
            return Forbidden(f"not allowed: {', '.join(denied)}", data={"topics": denied})
        return {"topics": wanted, "cursor": cursor}
