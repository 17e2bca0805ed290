"""What an application may ask through its client, by the names of protocol §3."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence

from chatsync.client.entries import Frame, Subscription


class Commands(ABC):
    """Requests wait for a connection and are answered once, with the reply's `data`.

    Each raises the RequestError that the server answers with. What can be repeated without harm is
    sent again after a reconnect; `accept`, `transfer` and `status` are not: they raise
    ConnectionLost where nobody can say what became of them.
    """

    @abstractmethod
    async def request(self, kind: str, *, is_repeatable: bool = True, **fields: object) -> Frame:
        """Send a frame of a type, and wait for its `reply`."""

    @abstractmethod
    def tell(self, kind: str, **fields: object) -> bool:
        """Send an ephemeral frame; false, and it is dropped, where nobody would hear it now."""

    async def subscribe(self, *topics: str) -> Subscription:
        """Hear topics from now on, over reconnects too. Raises Forbidden, which names them.

        Their state is another matter: a snapshot with `after=` the returned cursor has it.
        """
        return await self._subscription("subscribe", topics)

    async def unsubscribe(self, *topics: str) -> Subscription:
        return await self._subscription("unsubscribe", topics)

    async def send(
        self, conversation_id: str, message: Frame, *, client_id: str | None = None
    ) -> Frame:
        """Send a message: `{type, text?, mediaId?, replyTo?, …}`; returns it as it was stored.

        It is sent once, however often it is repeated: by `client_id`, a UUID, which is made here
        unless an application keeps its own to repeat it in another life. Raises Conflict for the
        same id with another content.
        """
        reply = await self.request(
            "send",
            conversationId=conversation_id,
            clientId=client_id or str(uuid.uuid4()),
            message=message,
        )
        return reply.get("message", reply)

    async def read(self, conversation_id: str, message_id: str | None = None) -> Frame:
        """Mark as read, up to a message where one is given; returns the conversation."""
        upto: Frame = {} if message_id is None else {"messageId": message_id}
        return _conversation(await self.request("read", conversationId=conversation_id, **upto))

    async def accept(self, conversation_id: str, version: int | None = None) -> Frame:
        """Take a conversation. Raises Conflict with the current one when it is not `version`."""
        return await self._change("accept", conversation_id, version)

    async def transfer(
        self,
        conversation_id: str,
        to_user_id: str | None,
        *,
        version: int | None = None,
        note: str | None = None,
    ) -> Frame:
        """Give a conversation to somebody, or to nobody."""
        more: Frame = {} if note is None else {"note": note}
        return await self._change("transfer", conversation_id, version, toUserId=to_user_id, **more)

    async def status(self, conversation_id: str, status: str, version: int | None = None) -> Frame:
        """Open or resolve a conversation."""
        return await self._change("status", conversation_id, version, status=status)

    def typing(self, conversation_id: str, *, active: bool = True) -> bool:
        """Say that the user types; the server ends it after 3 s unless it is said again."""
        return self.tell("typing", conversationId=conversation_id, active=active)

    def presence(self, status: str) -> bool:
        """Say `online`, `away` or `busy`."""
        return self.tell("presence", status=status)

    async def _subscription(self, kind: str, topics: Sequence[str]) -> Subscription:
        reply = await self.request(kind, topics=list(topics))
        return Subscription(tuple(reply.get("topics", ())), str(reply.get("cursor", "")))

    async def _change(
        self, kind: str, conversation_id: str, version: int | None, **fields: object
    ) -> Frame:
        at: Frame = {} if version is None else {"version": version}
        reply = await self.request(
            kind, is_repeatable=False, conversationId=conversation_id, **at, **fields
        )
        return _conversation(reply)


def _conversation(reply: Frame) -> Frame:
    return reply.get("conversation", reply)
