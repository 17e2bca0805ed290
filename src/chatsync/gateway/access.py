"""Asks the database who may hear and see what: an operator may replace the rules, which are SQL.

Nothing is kept of an answer: each is younger than its question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from chatsync.database import Database
from chatsync.gateway.rounds import Rounds
from chatsync.model import Claims

# All that the rule is told of a session: tenant, user, role and topics.
Question = tuple[str, str, str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Judged:
    """Which topics somebody may not hear, and whether no conversation is hidden from anybody."""

    denied: list[str]
    sees_all: bool


class Access:
    """The questions of all sessions of a process, those of one moment asked together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rounds = Rounds(self._answer)

    async def judge(self, claims: Claims, topics: Sequence[str]) -> Judged:
        """What the holder of the claims may hear and see. Raises DatabaseUnavailable."""
        question = (claims.tenant_id, claims.user_id, claims.role, tuple(topics))
        return await self._rounds.ask(question)

    async def refused_topics(self, claims: Claims, topics: Sequence[str]) -> list[str]:
        """Which of the topics the holder of the claims may not hear. Raises DatabaseUnavailable."""
        return (await self.judge(claims, topics)).denied

    async def visible(self, claims: Claims, subjects: Sequence[str]) -> frozenset[str]:
        """Which of the conversations and contacts may be seen. Raises DatabaseUnavailable."""
        async with self._database.transaction([claims.tenant_id]) as connection:
            cursor = await connection.execute(
                "select chatsync.visible(%s, %s)", [Jsonb(claims.document()), list(subjects)]
            )
            row = await cursor.fetchone()
            return frozenset(row[0]) if row else frozenset()

    async def _answer(self, questions: Sequence[Question]) -> list[Judged]:
        asked = [
            {"tenant": tenant, "sub": user, "role": role, "topics": topics}
            for tenant, user, role, topics in questions
        ]
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "select chatsync.refused_topics_of_each(%s), chatsync.sees_all_conversations()",
                [Jsonb(asked)],
            )
            return [Judged(list(row[0]), row[1]) for row in await cursor.fetchall()]
