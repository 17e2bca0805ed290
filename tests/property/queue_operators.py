"""Random histories of the queue, its operators: pauses, limits, retries, dead letters."""

from typing import LiteralString

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from property.queue_hands import LIFT, LIMIT_IN_FLIGHT, LIMIT_RATE, at, column
from property.queue_limit_model import Limit
from property.queue_model import Message, Scope
from property.queue_steps import CAPS, LIMITS, PICKS, POLICIES, SCOPES
from property.queue_work import QueueWork
from sql.queue_calls import QUEUE, value

FOREVER = float("inf")


class QueueOperators(QueueWork):
    @initialize(policy=POLICIES, limit=st.none() | CAPS)
    def choose(self, policy: str, limit: Limit | None) -> None:
        self.model.skips = policy == "skip"
        self.hands.set_policy(policy)
        if limit is not None:
            self.set_limit(limit, is_met=False)

    @precondition(lambda self: len(self.model.pauses) < 3)
    @rule(scope=SCOPES, seconds=st.sampled_from([None, 3, 30]), is_met=st.booleans())
    def pause(self, scope: Scope, seconds: float | None, is_met: bool) -> None:
        call = "select chatsync.pause(%s, %s, p_ordering_key => %s, p_until => %s)"
        until = FOREVER if seconds is None else self.model.now + seconds
        ends_at = None if seconds is None else at(until)
        self.hands.operator.execute(call, [QUEUE, *scope, ends_at])
        self.model.pauses[scope] = until
        if is_met:
            self.claim("A", 5)

    @precondition(lambda self: self.model.pauses)
    @rule(pick=PICKS)
    def resume(self, pick: int) -> None:
        scope = sorted(self.model.pauses, key=str)[pick % len(self.model.pauses)]
        call = "select chatsync.resume(%s, %s, p_ordering_key => %s)"
        assert value(self.hands.operator, call, [QUEUE, *scope]) is True
        del self.model.pauses[scope]

    @precondition(lambda self: len(self.model.limits.limits) < 3)
    @rule(limit=LIMITS, is_met=st.booleans())
    def set_limit(self, limit: Limit, is_met: bool) -> None:
        if limit.seconds is None:
            arguments = [QUEUE, limit.amount, limit.per, limit.tenant]
            self.hands.operator.execute(LIMIT_IN_FLIGHT, arguments)
        else:
            arguments = [QUEUE, limit.amount, limit.seconds, limit.per, limit.tenant]
            self.hands.operator.execute(LIMIT_RATE, arguments)
        self.model.limits.set(limit)
        if is_met:
            self.claim("A", 5)
            self.claim("B", 5)

    @precondition(lambda self: self.model.limits.limits)
    @rule(pick=PICKS)
    def lift_limit(self, pick: int) -> None:
        limits = list(self.model.limits.limits.values())
        limit = limits[pick % len(limits)]
        arguments = [QUEUE, limit.kind, limit.per, limit.tenant]
        assert value(self.hands.operator, LIFT, arguments) is True
        self.model.limits.lift(limit)
        self.claim("A", 5)

    @precondition(lambda self: self.model.committed())
    @rule(pick=PICKS)
    def retry_message(self, pick: int) -> None:
        message = self.pick_message(pick)
        was_later = message.status in ("retrying", "scheduled")
        if self.change(message, "select chatsync.retry_message(%s)", is_changed=was_later):
            message.status, message.due = "pending", self.model.now

    @precondition(lambda self: self.model.committed())
    @rule(pick=PICKS)
    def cancel_message(self, pick: int) -> None:
        message = self.pick_message(pick)
        if self.change(message, "select chatsync.cancel_message(%s, null)", is_changed=True):
            self.model.bury(message)

    @precondition(lambda self: self.model.dead)
    @rule()
    def redrive(self) -> None:
        dead = sorted(self.model.dead)
        self.wait_for_lanes(*(self.origins[id] for id in dead))
        new_ids = column(self.hands.operator, "select new_id from chatsync.redrive(%s)", QUEUE)
        for dead_id, new_id in zip(dead, sorted(new_ids), strict=True):
            self.model.revive(dead_id, new_id, self.origins[dead_id])
            self.origins[new_id] = self.model.messages[new_id]

    def pick_message(self, pick: int) -> Message:
        messages = self.model.committed()
        message = messages[pick % len(messages)]
        self.wait_for_lanes(message)
        return message

    def change(self, message: Message, call: LiteralString, *, is_changed: bool) -> bool:
        """Whether the operator's call changed it; what a worker has stays as it is."""
        if message.lease is None:
            assert value(self.hands.operator, call, [message.id]) is is_changed
            return is_changed
        with pytest.raises(psycopg.errors.DatabaseError) as caught:
            self.hands.operator.execute(call, [message.id])
        assert caught.value.sqlstate == "CS005"
        return False
