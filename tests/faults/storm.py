"""Random faults, one after the other, from a seed."""

import asyncio
import random
import time
from collections import Counter
from typing import Literal, TypeAlias, get_args

from faults.proxy import Proxy

Fault: TypeAlias = Literal["delay", "cut", "freeze", "slow", "reset", "thaw"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
GAP_SECONDS = (0.05, 0.3)


async def storm(proxy: Proxy, chance: random.Random, seconds: float) -> Counter[str]:
    """Let faults loose on the wires of a proxy, then calm down; counts what was done."""
    done: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    dealt: list[Fault] = []
    while time.monotonic() < deadline:
        # Dealt like cards, so that a short storm has each of them, too.
        dealt = dealt or chance.sample(FAULTS, len(FAULTS))
        fault = dealt.pop()
        done[fault] += strike(proxy, fault, chance)
        await asyncio.sleep(chance.uniform(*GAP_SECONDS))
    proxy.calm()
    return done


def strike(proxy: Proxy, fault: Fault, chance: random.Random) -> int:
    """Have one fault befall some of the wires; returns how many."""
    victims = [wire for wire in proxy.wires if chance.random() < 0.3]
    match fault:
        case "delay":
            proxy.weather.delay_seconds = chance.choice((0.0, 0.01, 0.1))
            return 1
        case "slow":
            proxy.weather.bytes_per_second = chance.choice((20_000.0, 500_000.0, float("inf")))
            return 1
        case "cut":
            for wire in victims:
                wire.cut()
        case "freeze":
            for wire in victims:
                wire.freeze()
        case "reset":
            for wire in victims:
                wire.reset()
        case "thaw":
            for wire in proxy.wires:
                wire.thaw()
    return len(victims)
