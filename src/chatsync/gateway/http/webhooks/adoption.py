"""What `chatsync dev`, and nothing else, lets pass: unknown accounts, deliveries without proof."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog

# Makes an inbox for an account of a provider that nobody owns: (provider, external id).
Adopt: TypeAlias = Callable[[str, str], Awaitable[None]]

log = structlog.stdlib.get_logger(__name__)


def accept_unproven(adopt: Adopt | None, correlation_id: str) -> bool:
    """Whether a delivery without a signature or secret passes; warns when it does."""
    if adopt is None:
        return False
    log.warning(
        "unsigned_webhook_accepted",
        hint="only `chatsync dev` does this",
        correlation_id=correlation_id,
    )
    return True
