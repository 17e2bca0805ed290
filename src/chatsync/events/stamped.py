"""What a call did that stamped and rang by itself. No I/O.

A call for somebody who follows logs brings the new events with it, as rows of read_events(): they
need not be read from the log that they were just written to.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chatsync.database import Row

# A longer list costs each stamp more than a read now and then.
MAX_FOLLOWED = 500


@dataclass(frozen=True, slots=True)
class Stamped:
    """Whose logs grew, what is new of those that are followed, and whether an event may wait."""

    tenants: frozenset[str]
    is_left: bool
    events: Mapping[str, list[Row]] = field(default_factory=dict[str, list[Row]])


def decode(events: Sequence[Sequence[Any]] | None) -> Mapping[str, list[Row]]:
    """The arrays of stamp_for() as rows of read_events(), by tenant, in order."""
    by_tenant: dict[str, list[Row]] = {}
    for tenant_id, epoch, seq, topics, kind, data, correlation_id, *times in events or ():
        dates = (datetime.fromisoformat(time) for time in times)
        row = (tenant_id, epoch, int(seq), json.loads(topics), kind, data, correlation_id, *dates)
        by_tenant.setdefault(tenant_id, []).append(row)
    return by_tenant


def followed(tenant_ids: Collection[str]) -> str | None:
    """Whom stamp_for() is to tell about; nobody where they are too many."""
    return ",".join(tenant_ids) if 0 < len(tenant_ids) <= MAX_FOLLOWED else None
