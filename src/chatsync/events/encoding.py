"""A row of the log as an event of the protocol: encoded once, whoever is written it."""

import json
import sys
from datetime import UTC

from chatsync.database import Row
from chatsync.model import Event


def encode(row: Row) -> Event:
    """One row of read_events() as the protocol's JSON object; its data is JSON text already."""
    _, _, seq, topics, kind, data, correlation_id, created_at, _ = row
    timestamp = created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = (
        f'{{"seq":{seq},"type":{json.dumps(kind)},"topics":{json.dumps(topics)},'
        f'"data":{data},"timestamp":"{timestamp}"'
    )
    if correlation_id is not None:
        text += f',"correlationId":{json.dumps(correlation_id)}'
    heard_by = frozenset(map(sys.intern, topics))
    return Event(seq, heard_by, (text + "}").encode(), sys.intern(kind))
