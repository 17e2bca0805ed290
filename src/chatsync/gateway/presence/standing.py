"""What is said of a user: one word for all sessions. No state."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

# The most available first: it counts where sessions differ.
STATUSES = ("online", "busy", "away")
MAX_NAME_LENGTH = 200
# What PostgreSQL's text cannot hold, and what no name holds.
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

# A tenant's id and a user's.
User: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """A user who is online: the status, the number of sessions, and the name if one is known."""

    status: str
    sessions: int
    name: str | None


def joined(standings: Iterable[Standing]) -> Standing | None:
    """One standing of several; None of none."""
    several = list(standings)
    if len(several) < 2:
        return several[0] if several else None
    return Standing(
        min((each.status for each in several), key=STATUSES.index),
        sum(each.sessions for each in several),
        next((each.name for each in several if each.name is not None), None),
    )


def plain_name(name: str | None) -> str | None:
    """A token's name as it can be stored and shown."""
    return None if name is None else _UNFIT.sub("", name)[:MAX_NAME_LENGTH] or None
