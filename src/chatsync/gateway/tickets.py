"""Single-use tickets for those who can send no header: given for a token, spent in PostgreSQL.

The database keeps their hashes only, so that one use on one gateway is the last one on all.
"""

import hashlib
import re
import secrets
import time

from psycopg.types.json import Jsonb

from chatsync.database import Database
from chatsync.errors import RateLimited, Unauthorized
from chatsync.model import Claims

# Long enough for a page to open its stream, too short for a log or a history to be of use.
TICKET_SECONDS = 60.0
# More than one user's tabs open within a minute.
MAX_TICKETS = 200
_TICKET = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


async def issue(database: Database, claims: Claims) -> tuple[str, float]:
    """A ticket, and when it runs out, in seconds since 1970.

    Raises RateLimited, DatabaseUnavailable.
    """
    now = time.time()
    # What the leeway of its check still let in has a moment left.
    seconds = min(TICKET_SECONDS, max(1.0, claims.expires_at - now))
    ticket = secrets.token_urlsafe(32)
    document = {
        "tenant": claims.tenant_id,
        "sub": claims.user_id,
        "role": claims.role,
        "name": claims.name,
        "exp": claims.expires_at,
    }
    is_issued = await database.fetch_value(
        "select chatsync.issue_ticket(%b, %b, %s, %s)",
        [_hash(ticket), Jsonb(document), seconds, MAX_TICKETS],
    )
    if not is_issued:
        raise RateLimited(
            f"more than {MAX_TICKETS} tickets of one user",
            retry_after_ms=int(TICKET_SECONDS * 1000),
        )
    return ticket, now + seconds


async def spend(database: Database, ticket: str) -> Claims:
    """Whose ticket it is, once. Raises Unauthorized, DatabaseUnavailable."""
    found = None
    if _TICKET.fullmatch(ticket):
        found = await database.fetch_value("select chatsync.spend_ticket(%b)", [_hash(ticket)])
    if found is None:
        raise Unauthorized("the ticket is unknown, used or too old")
    return Claims(found["tenant"], found["sub"], found["role"], found["name"], float(found["exp"]))


def _hash(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
