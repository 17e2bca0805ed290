"""The publisher of a steady stream, and the verdict on what everybody saw of it."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx2

from conftest import SyncConnection
from service.harness import Gateway, token
from service.payloads import Frame
from service.witness import Witness, judge, read_log, seq

# An answer that takes longer is not waited for: whether it was committed the log tells.
ANSWER_SECONDS = 4.0
SETTLE_SECONDS = 30.0
TRIES = 30


@dataclass
class Publisher:
    """Publishes numbered events of one tenant, over any of the gateways."""

    tenant: str
    gateways: Sequence[Gateway]
    chance: random.Random
    # Long enough for a frame to be cut in its middle; longer, a stalled reader is soon full.
    padding: str = "x" * 300
    accepted: list[int] = field(default_factory=list[int])
    asked: int = 0

    async def run(self, gap_seconds: float) -> None:
        while True:
            await self.publish()
            await asyncio.sleep(self.chance.uniform(0, 2 * gap_seconds))

    async def publish_surely(self) -> None:
        """Publish until one is accepted: a thousand may be connecting meanwhile."""
        for _ in range(TRIES):
            if await self.publish():
                return
        raise AssertionError(f"none of {TRIES} events was accepted")

    async def publish(self) -> bool:
        number, self.asked = self.asked, self.asked + 1
        headers = {"Authorization": f"Bearer {token(tenant=self.tenant, role='service')}"}
        data = {"n": number, "tenant": self.tenant, "padding": self.padding}
        event = {"topics": ["tenant"], "type": "test", "data": data}
        gateway = self.chance.choice(self.gateways)
        try:
            answer = await gateway.http.post(
                "/api/events", json=event, headers=headers, timeout=ANSWER_SECONDS
            )
        except httpx2.HTTPError:
            return False
        if answer.status_code != 202:
            assert answer.status_code == 503, answer.text
            return False
        self.accepted.append(number)
        return True


def settle(log: Sequence[Frame], publisher: Publisher) -> None:
    """What was accepted is in the log, nothing twice, and nothing that nobody has said."""
    numbers = [event["data"]["n"] for event in log]
    assert len(numbers) == len(set(numbers)), "an event came into the log twice"
    assert set(publisher.accepted) <= set(numbers), "an accepted event is not in the log"
    assert set(numbers) <= set(range(publisher.asked)), "an event that nobody published"
    for event in log:
        assert event["data"]["tenant"] == publisher.tenant, "an event of another tenant"
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1)), "a log with holes"


async def verdict(
    owner: SyncConnection,
    publishers: Sequence[Publisher],
    witnesses: Sequence[Witness],
    check: Callable[[], None] = lambda: None,
) -> int:
    """Wait until all have all, and judge them; returns how many events the logs hold."""
    ends = {
        publisher.tenant: len(await _log_with_accepted(owner, publisher))
        for publisher in publishers
    }
    late: list[Witness] = []
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            while late := [w for w in witnesses if seq(w.cursor) < ends[w.tenant]]:
                check()
                await asyncio.sleep(0.02)
    except TimeoutError:
        behind = [(w.tenant, w.cursor) for w in late]
        many = f"{len(late)} of {len(witnesses)}"
        raise AssertionError(f"{many} are behind {ends}: {behind[:5]}") from None
    check()
    # What had no number yet when the others were read has one by now.
    logs = {publisher.tenant: read_log(owner, publisher.tenant) for publisher in publishers}
    for publisher in publishers:
        settle(logs[publisher.tenant], publisher)
    for witness in witnesses:
        judge(witness, logs[witness.tenant])
    return sum(len(log) for log in logs.values())


async def _log_with_accepted(owner: SyncConnection, publisher: Publisher) -> list[Frame]:
    """The log once all that was accepted is numbered, or after a while without."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        log = read_log(owner, publisher.tenant)
        is_complete = set(publisher.accepted) <= {event["data"]["n"] for event in log}
        if is_complete or time.monotonic() > deadline:
            return log
        await asyncio.sleep(0.02)
