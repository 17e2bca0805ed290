"""A gateway serves each signal to rebalance, whatever became of the one before."""

import asyncio
import os
import signal
from typing import cast

import pytest

from chatsync import supervision
from chatsync.gateway.census import Census, Figures
from chatsync.gateway.hub import Hub
from chatsync.gateway.rebalancing import rebalancing_on_signal


class Spoiled:
    """Stands where the census and the hub do; its first count fails in a way nobody foresaw."""

    def __init__(self) -> None:
        self.counts = 0
        self.counted = asyncio.Event()

    async def everywhere(self) -> list[Figures]:
        self.counts += 1
        self.counted.set()
        if self.counts == 1:
            raise LookupError
        return [Figures({}, {})]

    def members(self) -> list[object]:
        return []


async def test_a_signal_is_served_after_one_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "RESTART_SECONDS", 0.0)
    place = Spoiled()
    async with rebalancing_on_signal(cast(Census, place), cast(Hub, place)):
        for count in (1, 2):
            place.counted.clear()
            os.kill(os.getpid(), signal.SIGUSR1)
            async with asyncio.timeout(5):
                await place.counted.wait()
            assert place.counts == count
