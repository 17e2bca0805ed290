"""Each role has the rights of the table in rights.py, and no other."""

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.rights import FUNCTIONS
from sql.table_rights import READABLE, READABLE_IN_PART, WRITABLE


@pytest.fixture(scope="module")
def catalog(shared: Connections) -> SyncConnection:
    return shared.open("chatsync_owner")


@pytest.fixture(scope="module")
def gateway(shared: Connections) -> SyncConnection:
    return shared.open("chatsync_gateway", tenants="t1")


@pytest.mark.parametrize("role", FUNCTIONS)
def test_each_role_may_call_the_functions_of_the_table_and_no_other(
    catalog: SyncConnection, role: str
) -> None:
    rows = catalog.execute(
        "select proname, has_function_privilege(%s, oid, 'execute') from pg_proc"
        " where pronamespace = 'chatsync'::regnamespace",
        [role],
    ).fetchall()
    assert len({name for name, _ in rows}) == len(rows), "overloads need rows of their own here"
    assert {name for name, may_call in rows if may_call} == FUNCTIONS[role]


@pytest.mark.parametrize(("role", "privilege"), WRITABLE, ids=lambda value: value.lower())
def test_each_role_may_write_the_tables_of_the_table_and_no_other(
    catalog: SyncConnection, role: str, privilege: str
) -> None:
    may_write = "has_table_privilege(%s, oid, %s)"
    if privilege in ("INSERT", "UPDATE"):
        may_write = "has_any_column_privilege(%s, oid, %s)"
    rows = catalog.execute(
        "select relname from pg_class where relnamespace = 'chatsync'::regnamespace"
        " and relkind in ('r', 'p', 'v') and " + may_write,
        [role, privilege],
    ).fetchall()
    assert {row[0] for row in rows} == WRITABLE[role, privilege]


@pytest.mark.parametrize("role", READABLE)
def test_each_role_of_people_may_read_what_the_table_says_and_no_more(
    catalog: SyncConnection, role: str
) -> None:
    whole = catalog.execute(
        "select relname from pg_class where relnamespace = 'chatsync'::regnamespace"
        " and relkind in ('r', 'p', 'v') and has_table_privilege(%s, oid, 'select')",
        [role],
    ).fetchall()
    assert {row[0] for row in whole} == READABLE[role]
    parts: dict[str, set[str]] = {}
    for table, column in catalog.execute(
        "select c.relname, a.attname from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where c.relnamespace = 'chatsync'::regnamespace and c.relkind in ('r', 'p', 'v')"
        " and not has_table_privilege(%s, c.oid, 'select')"
        " and has_column_privilege(%s, c.oid, a.attnum, 'select')",
        [role, role],
    ):
        parts.setdefault(str(table), set()).add(str(column))
    assert parts == READABLE_IN_PART[role]


def test_a_producer_says_what_is_to_be_done_and_not_how_far_it_has_come(
    catalog: SyncConnection,
) -> None:
    rows = catalog.execute(
        "select attname from pg_attribute"
        " where attrelid = 'chatsync.message_queue'::regclass and attnum > 0"
        " and not has_column_privilege('chatsync_producer', attrelid, attnum, 'insert')"
    ).fetchall()
    assert {row[0] for row in rows} == {
        "created_at",
        "deaths",
        "id",
        "is_later",
        "keyless_lease_id",
        "keyless_status",
        "lane_key",
        "last_error",
        "lease_id",
        "parked_by",
        "processed_at",
        "retry_count",
        "worker_id",
    }


def test_a_gateway_that_calls_another_roles_function_is_refused(
    catalog: SyncConnection, gateway: SyncConnection
) -> None:
    calls = catalog.execute(
        "select p.proname, format('%s chatsync.%I(%s)',"
        " case p.prokind when 'p' then 'call' else 'select' end, p.proname, string_agg("
        "'null::' || format_type(a.type, null), ', ' order by a.position))"
        " from pg_proc p"
        " left join unnest(p.proargtypes) with ordinality as a (type, position) on true"
        " where p.pronamespace = 'chatsync'::regnamespace and p.prorettype <> 'trigger'::regtype"
        " group by p.oid, p.proname"
    ).fetchall()
    refused: set[object] = set()
    for name, call in calls:
        if name in FUNCTIONS["chatsync_gateway"]:
            continue
        with pytest.raises(
            psycopg.errors.InsufficientPrivilege, match=f"(function|procedure) {name}"
        ):
            gateway.execute(str(call).encode())
        refused.add(name)

    assert refused >= {"claim", "settle", "apply_inbound", "reap", "create_tenant", "open_epochs"}


def test_a_gateway_that_writes_a_table_is_refused(
    catalog: SyncConnection, gateway: SyncConnection
) -> None:
    tables = catalog.execute(
        "select c.relname, a.attname from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum = 1"
        " where c.relnamespace = 'chatsync'::regnamespace and c.relkind in ('r', 'p')"
    ).fetchall()
    assert len(tables) > 20
    for table, column in tables:
        if table == "presence":
            # Of the tenants that it names: see test_presence.py.
            continue
        for statement in (
            "insert into chatsync.{0} default values",
            "update chatsync.{0} set {1} = default",
            "delete from chatsync.{0}",
            "truncate chatsync.{0}",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                gateway.execute(statement.format(table, column).encode())


def test_a_worker_changes_of_an_inbox_its_connection_alone(catalog: SyncConnection) -> None:
    rows = catalog.execute(
        "select attname from pg_attribute"
        " where attrelid = 'chatsync.inboxes'::regclass and attnum > 0"
        " and has_column_privilege('chatsync_worker', attrelid, attnum, 'update')"
    ).fetchall()
    assert {row[0] for row in rows} == {"qrcode", "state", "state_reason", "version"}


@pytest.mark.parametrize("secret", ["app_secret", "access_token", "api_key", "base_url", "*"])
def test_a_gateway_cannot_select_what_an_inbox_keeps_secret(
    gateway: SyncConnection, secret: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        gateway.execute(b"select %s from chatsync.inboxes" % secret.encode())
