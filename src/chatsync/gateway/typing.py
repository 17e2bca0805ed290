"""Carries typing between the sessions of this process and those of other gateways.

Nothing of it is stored: it travels in the doorbell, and may be lost.
"""

import asyncio
import time

from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint, Typed
from chatsync.events.relay import Relay
from chatsync.gateway import frames
from chatsync.gateway.audience import Audience
from chatsync.gateway.typists import TTL_SECONDS, Typists

TICK_SECONDS = 0.2


class Typing:
    """`run` it as a task."""

    def __init__(self, doorbell: Doorbell, relay: Relay, audience: Audience) -> None:
        self._relay = relay
        self._audience = audience
        self._typists = Typists()
        self._is_busy = asyncio.Event()
        doorbell.subscribe(self._hear)

    def say(self, typed: Typed) -> None:
        """A client of this process begins, goes on or stops."""
        self._tell_everyone(self._typists.say(typed, time.monotonic()))
        self._is_busy.set()

    def leave(self, session_id: str) -> None:
        for stop in self._typists.leave(session_id):
            self._tell_everyone(stop)

    async def run(self) -> None:
        while True:
            await self._is_busy.wait()
            await asyncio.sleep(TICK_SECONDS)
            relayed, silent = self._typists.tick(time.monotonic())
            for typed in relayed:
                self._tell_everyone(typed)
            for typed in silent:
                self._tell(typed)
            if not len(self._typists):
                self._is_busy.clear()

    def _tell_everyone(self, typed: Typed | None) -> None:
        if typed is not None:
            self._relay.tell_typing(typed)
            self._take(typed)

    def _hear(self, hint: Hint) -> None:
        for typed in hint.typing:
            self._take(typed)

    def _take(self, typed: Typed) -> None:
        if self._typists.hear(typed, time.monotonic()):
            self._tell(typed)
            self._is_busy.set()

    def _tell(self, typed: Typed) -> None:
        topic = f"conversation:{typed.conversation_id}"
        listeners = self._audience.of(typed.tenant_id, topic)
        if not listeners:
            return
        frame = frames.encode(
            "ephemeral",
            event="typing:start" if typed.is_active else "typing:stop",
            topic=topic,
            data={"conversationId": typed.conversation_id, "userId": typed.user_id}
            | ({} if typed.name is None else {"name": typed.name}),
            ttlMs=round(TTL_SECONDS * 1000) if typed.is_active else None,
        )
        for listener in listeners:
            # Other tabs of the same user are told: they know their own id.
            if listener.session_id != typed.session_id:
                listener.whisper(topic, typed.user_id, frame)
