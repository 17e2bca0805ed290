"""Where a client gets its token from: a fixed one, or whoever makes them."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from chatsync.errors import SessionEnded

TokenSource: TypeAlias = str | Callable[[], Awaitable[str]]


class Tokens:
    """The present token; asked for again when it has expired or is about to."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._present: str | None = source if isinstance(source, str) else None

    @property
    def is_renewable(self) -> bool:
        return not isinstance(self._source, str)

    async def get(self) -> str:
        """The present token. Raises what its source raises."""
        return self._present if self._present is not None else await self.renew()

    async def renew(self) -> str:
        """A new one. Raises SessionEnded where there is none to get."""
        if isinstance(self._source, str):
            raise SessionEnded("the token is not accepted any more, and there is no other", 4300)
        self._present = await self._source()
        return self._present

    def expire(self) -> None:
        """The present token is not accepted any more. Raises SessionEnded if it is the only one."""
        if isinstance(self._source, str):
            raise SessionEnded("the token is not accepted any more, and there is no other", 4300)
        self._present = None
