"""Asks the database who may hear and see what: an operator may replace the rules, which are SQL."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from chatsync.database import Database
from chatsync.model import Claims


@dataclass(frozen=True, slots=True)
class Judged:
    """Which topics somebody may not hear, and whether no conversation is hidden from anybody."""

    denied: list[str]
    sees_all: bool


async def judge(database: Database, claims: Claims, topics: Sequence[str]) -> Judged:
    """What the holder of the claims may hear and see. Raises DatabaseUnavailable."""
    async with database.transaction([claims.tenant_id]) as connection:
        cursor = await connection.execute(
            "select chatsync.refused_topics(%s, %s), chatsync.sees_all_conversations()",
            [Jsonb(claims.document()), list(topics)],
        )
        row = await cursor.fetchone()
        return Judged(list(row[0]), row[1]) if row else Judged(list(topics), sees_all=False)


async def refused_topics(database: Database, claims: Claims, topics: Sequence[str]) -> list[str]:
    """Which of the topics the holder of the claims may not hear. Raises DatabaseUnavailable."""
    return (await judge(database, claims, topics)).denied


async def visible(database: Database, claims: Claims, subjects: Sequence[str]) -> frozenset[str]:
    """Which of the conversations and contacts may be seen. Raises DatabaseUnavailable."""
    async with database.transaction([claims.tenant_id]) as connection:
        cursor = await connection.execute(
            "select chatsync.visible(%s, %s)", [Jsonb(claims.document()), list(subjects)]
        )
        row = await cursor.fetchone()
        return frozenset(row[0]) if row else frozenset()
