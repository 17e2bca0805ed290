"""Blocks of the log that were read a moment ago."""

import asyncio

import pytest

from chatsync.events.blocks import BLOCK, EVENT_BYTES, Blocks, Key
from chatsync.model import Event


class Log:
    """A log that counts how often it is read."""

    def __init__(self, head: int) -> None:
        self.head = head
        self.trimmed_to = 0
        self.reads: list[Key] = []
        self.is_away = False

    async def read(self, key: Key) -> list[Event]:
        self.reads.append(key)
        await asyncio.sleep(0)
        if self.is_away:
            raise LookupError
        first = max(key.number * BLOCK, self.trimmed_to) + 1
        last = min((key.number + 1) * BLOCK, self.head)
        return [Event(number, frozenset(), b"x") for number in range(first, last + 1)]


async def numbers(blocks: Blocks, after: int, limit: int = 100, **other: str) -> list[int]:
    tenant, epoch = other.get("tenant", "t1"), other.get("epoch", "e1")
    return [event.seq for event in await blocks.after(tenant, epoch, after, limit)]


async def test_a_block_is_read_once_for_all_who_want_it_now_or_soon():
    log = Log(1000)
    blocks = Blocks(log.read)
    at_once = await asyncio.gather(*(numbers(blocks, after) for after in range(100)))
    assert at_once == [list(range(after + 1, after + 101)) for after in range(100)]
    assert await numbers(blocks, 200) == list(range(201, BLOCK + 1))
    assert log.reads == [("t1", "e1", 0)]
    assert await numbers(blocks, BLOCK, 2) == [BLOCK + 1, BLOCK + 2]
    assert len(log.reads) == 2


async def test_a_block_that_was_read_while_the_log_grew_in_it_is_read_again_for_more():
    log = Log(100)
    blocks = Blocks(log.read)
    assert await numbers(blocks, 0) == list(range(1, 101))
    log.head = 150
    assert await numbers(blocks, 50) == list(range(51, 101))
    assert len(log.reads) == 1
    assert await numbers(blocks, 100) == list(range(101, 151))
    assert await numbers(blocks, 120) == list(range(121, 151))
    assert len(log.reads) == 2


async def test_who_joins_a_read_that_began_before_its_events_came_reads_once_more():
    log = Log(100)
    began, may_end = asyncio.Event(), asyncio.Event()

    async def read(key: Key) -> list[Event]:
        found = await log.read(key)
        began.set()
        await may_end.wait()
        return found

    blocks = Blocks(read)
    async with asyncio.timeout(5):
        first = asyncio.create_task(numbers(blocks, 50))
        await began.wait()
        log.head = 150
        joining = [asyncio.create_task(numbers(blocks, 100)) for _ in range(3)]
        await asyncio.sleep(0)
        may_end.set()
        assert await first == list(range(51, 101))
        assert await asyncio.gather(*joining) == [list(range(101, 151))] * 3
        # It began after these were asked for: what it does not hold is not there.
        assert await numbers(blocks, 150) == []
    assert len(log.reads) == 3


async def test_there_is_no_page_with_a_gap():
    log = Log(200)
    log.trimmed_to = 50
    blocks = Blocks(log.read)
    for after in (0, 49, 200, 255):
        assert await numbers(blocks, after) == []
    assert await numbers(blocks, 50, 3) == [51, 52, 53]


async def test_tenants_and_lives_of_a_log_are_kept_apart():
    log = Log(10)
    blocks = Blocks(log.read)
    for tenant, epoch in (("t1", "e1"), ("t2", "e1"), ("t1", "e2")):
        await numbers(blocks, 0, tenant=tenant, epoch=epoch)
    assert log.reads == [("t1", "e1", 0), ("t2", "e1", 0), ("t1", "e2", 0)]


async def test_what_retention_took_is_not_kept():
    log = Log(3 * BLOCK)
    blocks = Blocks(log.read)
    for number in range(3):
        await numbers(blocks, number * BLOCK)
    log.trimmed_to = BLOCK + 10
    blocks.forget("t2")
    blocks.forget("t1", up_to=log.trimmed_to)
    assert await numbers(blocks, BLOCK) == []
    assert await numbers(blocks, 0) == []
    assert len(log.reads) == 5
    assert len(await numbers(blocks, 2 * BLOCK)) == 100
    assert len(log.reads) == 5
    blocks.forget("t1")
    assert blocks.held_bytes == 0


async def test_blocks_are_kept_for_a_while():
    log = Log(10)
    blocks = Blocks(log.read, kept_seconds=0.05)
    await numbers(blocks, 0)
    async with asyncio.timeout(5):
        while blocks.held_bytes:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    await numbers(blocks, 0)
    assert len(log.reads) == 2


async def test_of_too_much_the_block_goes_that_was_wanted_longest_ago():
    log = Log(4 * BLOCK)
    whole = BLOCK * (EVENT_BYTES + 1)
    blocks = Blocks(log.read, kept_bytes=2 * whole)
    for number in (0, 1, 0, 2):
        await numbers(blocks, number * BLOCK)
        assert blocks.held_bytes <= 2 * whole
    log.reads.clear()
    for number in (0, 2, 1):
        await numbers(blocks, number * BLOCK)
    assert log.reads == [("t1", "e1", 1)]


async def test_a_block_that_is_larger_than_all_there_is_room_for_is_not_kept():
    log = Log(10)
    blocks = Blocks(log.read, kept_bytes=100)
    assert len(await numbers(blocks, 0)) == 10
    assert blocks.held_bytes == 0


async def test_what_went_wrong_is_told_to_all_who_wait_and_not_kept():
    log = Log(10)
    log.is_away = True
    blocks = Blocks(log.read)
    told = await asyncio.gather(numbers(blocks, 0), numbers(blocks, 1), return_exceptions=True)
    assert [type(error) for error in told] == [LookupError, LookupError]
    assert len(log.reads) == 1
    log.is_away = False
    assert await numbers(blocks, 0) == list(range(1, 11))


async def test_who_goes_takes_nothing_from_the_others():
    log = Log(10)
    blocks = Blocks(log.read)
    goes, stays = (asyncio.create_task(numbers(blocks, after)) for after in (0, 5))
    await asyncio.sleep(0)
    goes.cancel()
    assert await stays == [6, 7, 8, 9, 10]
    with pytest.raises(asyncio.CancelledError):
        await goes
