"""Which dead letters are meant: no filter, no change."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.operator_calls import cancel, rows
from sql.queue_calls import value

pytestmark = pytest.mark.usefixtures("tenant")


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_operator")


@pytest.mark.parametrize("function", ["redrive", "purge_dead_letters"])
@pytest.mark.parametrize("arguments", ["", "p_limit => 5", "p_dry_run => true"])
def test_a_filter_is_required(operator: SyncConnection, function: str, arguments: str) -> None:
    with pytest.raises(psycopg.DatabaseError, match="filter") as raised:
        operator.execute(f"select * from chatsync.{function}({arguments})".encode())
    assert raised.value.sqlstate == "CS006"


FILTERS = [
    ("p_queue => 'outbound'", {"plain", "late", "other tenant"}),
    ("p_tenant_id => 't2'", {"other tenant"}),
    ("p_error_like => 'time%'", {"late"}),
    ("p_since => '2026-01-02'", {"late"}),
    ("p_until => '2026-01-02'", {"plain", "other queue", "other tenant"}),
    ("p_correlation_id => 'c2'", {"other queue"}),
    ("p_ids => (select array_agg(id) from chatsync.failed_messages where tenant_id = 't2')",
     {"other tenant"}),
    ("p_ids => '{}'", set[str]()),
    ("'outbound', 't1', p_until => '2026-01-02'", {"plain"}),
]  # fmt: skip


@pytest.fixture
def assorted(operator: SyncConnection, worker: SyncConnection) -> None:
    for label, queue, tenant, correlation_id, day, error in (
        ("plain", "outbound", "t1", "c1", 1, "bad"),
        ("other queue", "other", "t1", "c2", 1, "bad"),
        ("other tenant", "outbound", "t2", "c3", 1, "bad"),
        ("late", "outbound", "t1", "c4", 3, "timed out"),
    ):
        message_id = value(
            worker,
            "select chatsync.enqueue(%s, %s, 'x', %s, p_correlation_id => %s)",
            [queue, tenant, Jsonb({"label": label}), correlation_id],
        )
        operator.execute("select set_config('chatsync.now', %s, false)", [f"2026-01-0{day}"])
        cancel(operator, message_id, error)


@pytest.mark.usefixtures("assorted")
@pytest.mark.parametrize(("arguments", "expected"), FILTERS)
def test_a_filter_redrives_what_it_names(
    operator: SyncConnection, owner: SyncConnection, arguments: str, expected: set[str]
) -> None:
    operator.execute(f"select * from chatsync.redrive({arguments})".encode())
    found = rows(owner, "select payload ->> 'label' as label from chatsync.message_queue")
    assert {row.label for row in found} == expected


@pytest.mark.usefixtures("assorted")
@pytest.mark.parametrize(
    ("arguments", "expected"), [*FILTERS, ("p_before => '2026-01-02'", FILTERS[4][1])]
)
def test_a_filter_purges_what_it_names(
    operator: SyncConnection, owner: SyncConnection, arguments: str, expected: set[str]
) -> None:
    call = f"select chatsync.purge_dead_letters({arguments})"
    purged = operator.execute(call.encode()).fetchall()
    left = rows(owner, "select summary ->> 'label' as label from chatsync.failed_messages")
    everything = {"plain", "late", "other tenant", "other queue"}
    assert {row.label for row in left} == everything - expected
    assert purged == [(len(expected),)]


@pytest.mark.usefixtures("assorted")
def test_a_purge_of_dead_letters_begins_with_the_first_and_stops_at_its_limit(
    operator: SyncConnection, owner: SyncConnection
) -> None:
    assert value(operator, "select chatsync.purge_dead_letters('outbound', p_limit => 1)") == 1
    left = rows(owner, "select summary ->> 'label' as label from chatsync.failed_messages")
    assert {row.label for row in left} == {"other queue", "other tenant", "late"}
