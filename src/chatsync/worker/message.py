"""Messages as handlers see them: typed and frozen. A payload that does not fit is Permanent."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from chatsync.errors import Permanent
from chatsync.queue.message import QueueMessage

Payload = TypeVar("Payload")
Payload_co = TypeVar("Payload_co", covariant=True)

# A sentence for a person; the payload is kept with the dead letter.
MAX_PROBLEMS = 3


class Message(NamedTuple, Generic[Payload_co]):
    """One message of a queue. `attempt` is 1 at the first try."""

    id: int
    queue: str
    tenant_id: str
    inbox_id: int | None
    ordering_key: str | None
    message_type: str
    correlation_id: str
    payload: Payload_co
    metadata: Mapping[str, Any]
    attempt: int
    created_at: datetime


# Not frozen: that would make it four times as slow to make, and producers make many.
@dataclass(slots=True, kw_only=True)
class NewMessage:
    """A message to enqueue. `payload` may be all that pydantic can write as JSON.

    With a `dedupe_key` that is already waiting in its queue and tenant, the first one stays.
    """

    queue: str
    tenant_id: str
    payload: object = None
    message_type: str | None = None
    ordering_key: str | None = None
    dedupe_key: str | None = None
    priority: int = 0
    scheduled_at: datetime | None = None
    correlation_id: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    inbox_id: int | None = None
    max_retries: int | None = None


class Reader(Generic[Payload]):
    """Reads queue messages as messages of one type; None takes the JSON as it is."""

    def __init__(self, model: type[Payload] | None) -> None:
        self._adapter = None if model is None else TypeAdapter[Payload](model)
        self._name = getattr(model, "__name__", str(model))

    def read(self, message: QueueMessage) -> Message[Payload]:
        """Raises Permanent when the payload does not fit."""
        return Message(
            id=message.id,
            queue=message.queue,
            tenant_id=message.tenant_id,
            inbox_id=message.inbox_id,
            ordering_key=message.ordering_key,
            message_type=message.message_type,
            correlation_id=message.correlation_id,
            payload=self._payload(message.payload),
            metadata=message.metadata or {},
            attempt=message.retry_count,
            created_at=message.created_at,
        )

    def _payload(self, payload: str | None) -> Payload:
        if self._adapter is None:
            return _read(payload)
        try:
            # As JSON, since that is what it is: even a strict model takes a date from a string.
            return self._adapter.validate_json(payload or "null")
        except ValidationError as error:
            raise Permanent(f"the payload is no {self._name}: {_sentence(error)}") from None


def _read(payload: str | None) -> Any:
    if payload is None:
        return None
    try:
        return from_json(payload)
    except ValueError:
        # It stops at a depth of some hundred; PostgreSQL took this.
        return json.loads(payload)


def _sentence(error: ValidationError) -> str:
    """What is wrong where, without the values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    said = [
        f"{'.'.join(str(step) for step in problem['loc']) or 'it'}: {problem['msg']}"
        for problem in problems[:MAX_PROBLEMS]
    ]
    if len(problems) > MAX_PROBLEMS:
        said.append(f"and {len(problems) - MAX_PROBLEMS} more")
    return "; ".join(said)
