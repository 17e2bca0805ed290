"""Which rows of tables and views a role may see, read from the catalog."""

import pytest

from conftest import Connections, SyncConnection
from sql.catalog import names
from sql.queue_calls import value

POLICIES = {
    ("ALL", "owner_sees_all", "chatsync_owner", "true", None),
    ("ALL", "worker_sees_all", "chatsync_worker", "true", None),
    (
        "ALL",
        "gateway_sees_named_tenants",
        "chatsync_gateway",
        "(tenant_id = ANY (string_to_array(NULLIF(current_setting('chatsync.tenants'::text, true),"
        " ''::text), ','::text)))",
        None,
    ),
}
FOR_PEOPLE = {
    ("SELECT", "operator_sees_all", "chatsync_operator", "true", None),
    ("SELECT", "reader_sees_all", "chatsync_reader", "true", None),
}
FOR_OPERATORS = {("SELECT", "operator_sees_all", "chatsync_operator", "true", None)}
FOR_PRODUCERS = {
    ("SELECT", "producer_sees_all", "chatsync_producer", "true", None),
    (
        "INSERT",
        "producer_adds",
        "chatsync_producer",
        None,
        "(status = ANY (ARRAY['pending'::text, 'scheduled'::text]))",
    ),
}

TENANT_TABLES = """
    select c.oid, c.relname, c.relrowsecurity and c.relforcerowsecurity as is_forced
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
    where c.relnamespace = 'chatsync'::regnamespace and c.relkind in ('r', 'p')
      and not c.relispartition"""


@pytest.fixture(scope="module")
def catalog(shared: Connections) -> SyncConnection:
    return shared.open("chatsync_owner")


def unprotected(catalog: SyncConnection) -> set[object]:
    return names(catalog, f"select relname from ({TENANT_TABLES}) as t where not is_forced")


def test_row_level_security_is_forced_on_every_table_with_a_tenant(catalog: SyncConnection) -> None:
    assert len(names(catalog, f"select relname from ({TENANT_TABLES}) as t")) >= 14
    assert unprotected(catalog) == set()


def test_the_look_for_unprotected_tables_finds_one(catalog: SyncConnection) -> None:
    with catalog.transaction(force_rollback=True):
        catalog.execute("create table chatsync.careless (tenant_id text)")
        catalog.execute("alter table chatsync.careless enable row level security")
        assert unprotected(catalog) == {"careless"}


def test_tables_with_a_tenant_have_the_listed_policies_and_no_other(
    catalog: SyncConnection,
) -> None:
    tables = names(catalog, f"select relname from ({TENANT_TABLES}) as t")
    found: dict[object, set[tuple[object, ...]]] = {}
    for table, kind, command, *policy in catalog.execute(
        "select tablename, permissive, cmd, policyname, array_to_string(roles, ','), qual,"
        " with_check from pg_policies where schemaname = 'chatsync'"
    ):
        assert kind == "PERMISSIVE"
        found.setdefault(table, set()).add((command, *policy))

    assert found == dict.fromkeys(tables, POLICIES) | {
        "message_queue": POLICIES | FOR_PEOPLE | FOR_PRODUCERS,
        "failed_messages": POLICIES | FOR_PEOPLE,
        "failed_attempts": POLICIES | FOR_OPERATORS,
        "message_archive": POLICIES | FOR_OPERATORS,
        "queue_lanes": POLICIES | FOR_PEOPLE,
        "queue_limits": POLICIES | FOR_PEOPLE,
        "queue_pauses": POLICIES | FOR_PEOPLE,
    }


def test_every_view_looks_with_the_rights_of_its_reader(catalog: SyncConnection) -> None:
    views = catalog.execute(
        "select relname, coalesce('security_invoker=true' = any (reloptions), false)"
        " from pg_class where relnamespace = 'chatsync'::regnamespace and relkind in ('v', 'm')"
    ).fetchall()
    assert views
    assert [name for name, is_invoker in views if not is_invoker] == []


def test_partitions_of_the_log_are_granted_to_nobody(catalog: SyncConnection) -> None:
    granted = catalog.execute(
        "select c.relname, a.grantee::regrole::text from pg_class c"
        " cross join aclexplode(c.relacl) as a"
        " where c.relnamespace = 'chatsync'::regnamespace and c.relispartition"
        " and c.relkind = 'r' and a.grantee <> c.relowner"
    ).fetchall()
    assert granted == []
    assert value(catalog, "select count(*) from pg_class where relispartition") >= 4
