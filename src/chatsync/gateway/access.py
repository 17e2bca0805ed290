"""Asks the database who may hear what: the rule is SQL, and an operator may replace it.

Nothing is kept of an answer: each is younger than its question.
"""

from collections.abc import Sequence

from psycopg.types.json import Jsonb

from chatsync.database import Database
from chatsync.gateway.rounds import Rounds
from chatsync.model import Claims

# All that the rule is told of a session: tenant, user, role and topics.
Question = tuple[str, str, str, tuple[str, ...]]


class Access:
    """The questions of all sessions of a process, those of one moment asked together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rounds = Rounds(self._answer)

    async def refused_topics(self, claims: Claims, topics: Sequence[str]) -> list[str]:
        """Which of the topics the holder of the claims may not hear. Raises DatabaseUnavailable."""
        question = (claims.tenant_id, claims.user_id, claims.role, tuple(topics))
        return await self._rounds.ask(question)

    async def _answer(self, questions: Sequence[Question]) -> list[list[str]]:
        asked = [
            {"tenant": tenant, "sub": user, "role": role, "topics": topics}
            for tenant, user, role, topics in questions
        ]
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "select chatsync.refused_topics_of_each(%s)", [Jsonb(asked)]
            )
            return [row[0] for row in await cursor.fetchall()]
