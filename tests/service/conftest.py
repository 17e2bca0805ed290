"""Fixtures of the service tests: a tenant with an inbox, and a gateway with a worker."""

from collections.abc import AsyncGenerator

import pytest

from service.harness import Gateway, create_inbox, running_gateway, settings_for


@pytest.fixture
def inbox_id(database_url: str) -> int:
    """The inbox of number 100 in the tenant t1."""
    return create_inbox(database_url)


@pytest.fixture
async def gateway(database_url: str, inbox_id: int) -> AsyncGenerator[Gateway]:
    assert inbox_id
    async with running_gateway(settings_for(database_url)) as running:
        yield running
