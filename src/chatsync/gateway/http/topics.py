"""The topics that a query names: all of them granted, or none."""

from starlette.requests import Request

from chatsync.errors import Forbidden, Invalid
from chatsync.gateway.access import Access
from chatsync.gateway.sight import Sight
from chatsync.model import Claims, full_topic

MAX_TOPICS = 200
DEFAULT_TOPICS = "tenant,user"


async def granted(request: Request, access: Access, claims: Claims) -> tuple[list[str], Sight]:
    """The topics asked for, spelled out, and what their hearer sees.

    Raises Invalid, Forbidden naming what was refused.
    """
    named = request.query_params.get("topics", DEFAULT_TOPICS).split(",")
    topics = list(dict.fromkeys(full_topic(topic, claims) for topic in named if topic))
    if not 0 < len(topics) <= MAX_TOPICS or any("\x00" in topic for topic in topics):
        raise Invalid(f"topics: between 1 and {MAX_TOPICS}")
    judged = await access.judge(claims, topics)
    if denied := judged.denied:
        raise Forbidden(f"not allowed: {', '.join(denied)}", data={"topics": denied})
    return topics, Sight(is_limited=not judged.sees_all)
