"""Random histories of the queue: its functions on PostgreSQL against a model without lanes."""

import sys
from contextlib import ExitStack
from functools import partial
from typing import cast

import pytest
from hypothesis.stateful import invariant, run_state_machine_as_test

from conftest import Connections
from property.queue_hands import CROWDED, DEAD, SHARED_KEYS, STRANDED_LANES, Hands, column, stored
from property.queue_operators import QueueOperators
from property.queue_steps import SETTINGS


class QueueMachine(QueueOperators):
    @invariant()
    def promises_are_kept(self) -> None:
        # Nothing is lost, nothing is there twice, and nothing is charged wrongly.
        assert stored(self.hands.owner) == {m.id: m.state for m in self.model.committed()}
        assert column(self.hands.owner, DEAD) == sorted(self.model.dead)
        assert column(self.hands.owner, SHARED_KEYS) == []
        assert column(self.hands.owner, STRANDED_LANES) == []

    def teardown(self) -> None:
        if self.is_open:
            self.end_transaction(True)
        # What has failed already has said why.
        if sys.exception() is None:
            self.drain()

    def drain(self) -> None:
        while self.model.pauses:
            self.resume(0)
        self.advance(1_000_000, "A")
        while self.model.leases:
            self.settle(0, ["done"])
        while self.model.messages:
            self.claim("A", 5)
            self.settle(0, ["done"])
            # A rate may let nothing more through.
            self.advance(60, "A")
        self.claim("A", 5)
        self.promises_are_kept()
        assert column(self.hands.owner, CROWDED) == []
        self.sweep("A")
        query = (
            "select lane from chatsync.queue_lanes union all select lane from chatsync.lane_turns"
        )
        assert column(self.hands.owner, query) == []


def test_every_history_keeps_the_promises(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A lock that is never let go fails its history instead of hanging the run.
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=5s")
    with ExitStack() as stack:
        hands = Hands(Connections(database_url, stack))
        run_state_machine_as_test(
            cast("type[QueueMachine]", partial(QueueMachine, hands)),
            settings=SETTINGS,
        )
