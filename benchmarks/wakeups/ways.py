"""The ways from an enqueue to a handler that are measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """`kind` is how it is enqueued; `queue` names the kind of the handler, too."""

    name: str
    kind: str
    queue: str = "external"
    has_key: bool = False


FLOOR = Way("floor", "floor")
WAYS = (
    FLOOR,
    Way("external", "worker"),
    Way("external-key", "worker", has_key=True),
    Way("transactional", "worker", "transactional"),
    Way("transactional-key", "worker", "transactional", has_key=True),
    Way("foreign", "foreign"),
    Way("foreign-key", "foreign", has_key=True),
    Way("scheduled", "scheduled"),
    Way("scheduled-key", "scheduled", has_key=True),
)
