"""Readiness: named checks that are passed in, each bounded in time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import structlog

# Returns None when all is well, else what is wrong in a few words.
Check: TypeAlias = Callable[[], Awaitable[str | None]]

CHECK_SECONDS = 2.0

log = structlog.stdlib.get_logger(__name__)


async def run(checks: Mapping[str, Check]) -> dict[str, str]:
    """Run all checks at once; the answer names each with ok or what is wrong."""
    outcomes = await asyncio.gather(*(_bounded(name, check) for name, check in checks.items()))
    return dict(zip(checks, outcomes, strict=True))


async def _bounded(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check() or "ok"
    except TimeoutError:
        return "no answer"
    except Exception as error:
        log.warning("check_failed", check=name, error=repr(error))
        return "failed"
