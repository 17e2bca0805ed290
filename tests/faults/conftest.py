"""Two tenants, and how long the random part is: short in the suite, long in `scripts/faults`."""

import os
import random

import pytest

from conftest import SyncConnection
from service.harness import create_inbox

pytest.register_assert_rewrite("faults.account", "faults.subscribers", "service.witness")

TENANTS = ("t1", "t2")


@pytest.fixture
def minutes() -> float:
    """How long scripts/faults lets faults loose; 0 in the suite, which has its own short times."""
    return float(os.environ.get("CHATSYNC_TEST_FAULTS_MINUTES", "0"))


@pytest.fixture
def seed(minutes: float, capsys: pytest.CaptureFixture[str]) -> int:
    """What all chance comes from: always the same in the suite, another one in each long run."""
    given = os.environ.get("CHATSYNC_TEST_FAULTS_SEED")
    number = int(given) if given else random.randrange(10**6) if minutes else 20261121
    with capsys.disabled():
        if minutes:
            print(f"\nCHATSYNC_TEST_FAULTS_SEED={number}")  # noqa: T201 - to repeat it
    return number


@pytest.fixture
def two_tenants(database_url: str, owner: SyncConnection) -> str:
    """The database's URL, with the tenants t1 and t2 in it."""
    create_inbox(database_url)
    create_inbox(database_url, tenant="t2", number="200")
    assert owner
    return database_url
