"""Fixtures of the tests of sql/."""

import itertools
import os
from collections.abc import Generator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from conftest import Connections, SyncConnection, _create, _drop
from sql.stepping import Stepper, stepping

_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def nobody_waits_for_ever() -> Generator[None]:
    """A lock that is never let go fails its test instead of hanging the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGOPTIONS", "-c statement_timeout=20s")
        yield


@pytest.fixture(scope="module")
def shared_url(server_url: str, template: str) -> Generator[str]:
    """A migrated database that all tests of a file share; they leave it as they find it."""
    name = f"chatsync_shared_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        _create(admin, name, template)
        yield make_conninfo(server_url, dbname=name)
        _drop(admin, name)


@pytest.fixture(scope="module")
def shared(shared_url: str) -> Generator[Connections]:
    with ExitStack() as stack:
        yield Connections(shared_url, stack)


@pytest.fixture
def undone_worker(shared: Connections) -> Generator[SyncConnection]:
    """A worker's connection in a transaction that is undone: cheaper than a database."""
    with shared.open("chatsync_worker") as worker, worker.transaction(force_rollback=True):
        worker.execute("select chatsync.create_tenant('t1')")
        yield worker


@pytest.fixture
def tenant(worker: SyncConnection) -> str:
    """The tenant t1."""
    worker.execute("select chatsync.create_tenant('t1')")
    return "t1"


@pytest.fixture
def stepper(connections: Connections) -> Generator[Stepper]:
    with stepping(connections) as stepper:
        yield stepper
