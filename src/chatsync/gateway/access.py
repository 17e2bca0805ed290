"""Asks the database who may hear what: the rule is SQL, and an operator may replace it."""

from collections.abc import Sequence

from psycopg.types.json import Jsonb

from chatsync.database import Database
from chatsync.model import Claims


async def refused_topics(database: Database, claims: Claims, topics: Sequence[str]) -> list[str]:
    """Which of the topics the holder of the claims may not hear. Raises DatabaseUnavailable."""
    async with database.transaction([claims.tenant_id]) as connection:
        cursor = await connection.execute(
            "select chatsync.refused_topics(%s, %s)", [Jsonb(claims.document()), list(topics)]
        )
        row = await cursor.fetchone()
        return list(row[0]) if row else list(topics)
