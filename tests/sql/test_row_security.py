"""What a gateway sees: the rows of the tenants that its transaction names."""

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.queue_calls import value

# The tables with a tenant that a gateway may read at all.
READABLE = {
    "contact_identities",
    "contacts",
    "conversations",
    "event_log",
    "inbox_notices",
    "inboxes",
    "messages",
    "presence",
    "stream_heads",
    "streams",
    "tenants",
}
HIDDEN = {
    "failed_attempts",
    "failed_messages",
    "message_archive",
    "message_provider_ids",
    "message_queue",
    "orphans",
    "outbox",
    "processed_items",
    "queue_lanes",
    "queue_limits",
    "queue_pauses",
    "tickets",
    "receipts",
}


@pytest.fixture(scope="module")
def filled(shared: Connections) -> Connections:
    """Rows of t1 and t2 in every table with a tenant."""
    owner = shared.open("chatsync_owner")
    for tenant in ("t1", "t2"):
        owner.execute("select chatsync.create_tenant(%s)", [tenant])
        inbox = value(
            owner,
            "select chatsync.create_inbox(%s, 'whatsapp_cloud', %s, p_app_secret => 'hush')",
            [tenant, f"number of {tenant}"],
        )
        owner.execute(
            "insert into chatsync.gateway_nodes values (%s, now())", [f"node of {tenant}"]
        )
        owner.execute(
            "insert into chatsync.presence values (%s, 'u1', %s, 'online', 1)",
            [tenant, f"node of {tenant}"],
        )
        owner.execute(
            "insert into chatsync.failed_attempts (message_id, tenant_id, queue, correlation_id,"
            " attempt, failed_at, outcome) values (1, %s, 'q', 'c', 1, now(), 'failed')",
            [tenant],
        )
        owner.execute(
            "insert into chatsync.message_archive (id, queue, tenant_id, message_type,"
            " correlation_id, metadata, priority, retry_count, scheduled_at, created_at, done_at)"
            " values (1, 'q', %s, 'x', 'c', '{}', 0, 1, now(), now(), now())",
            [tenant],
        )
        owner.execute(
            "select chatsync.enqueue_deliveries(%s, array['c', 'c'], array['a', 'b']::bytea[])",
            [[inbox, 999]],
        )
        owner.execute("select chatsync.take_device(%s, 'u', 'd', 's', 7)", [tenant])
        owner.execute(
            "select chatsync.reject_delivery(%s, %s, 'c', 'delivery', 'x', null, 'bad')",
            [tenant, inbox],
        )
        owner.execute("select chatsync.pause('outbound', %s)", [tenant])
        owner.execute("select chatsync.limit_in_flight('outbound', 1, 'tenant', %s)", [tenant])
        owner.execute(
            "select chatsync.issue_ticket(sha256(%s), jsonb_build_object('tenant', %s::text,"
            " 'sub', 'u'), 60, 1)",
            [tenant.encode(), tenant],
        )
        identity = {"scope": "tenant", "kind": "phone", "value": "1"}
        item = {"tenant_id": tenant, "inbox_id": inbox, "correlation_id": "c", "metadata": {}}
        item["occurred_at"] = "2026-01-01T00:00:00Z"
        message = {"kind": "message", "contact_key": 0, "direction": "INBOUND", "type": "TEXT"}
        owner.execute(
            "select chatsync.apply_inbound(%s, %s)",
            [
                Jsonb([{"key": 0, "tenantId": tenant, "name": "A", "identities": [identity]}]),
                Jsonb(
                    [
                        item
                        | message
                        | {"position": 0, "provider_message_id": "m", "origin": "live"},
                        item
                        | {"kind": "status", "position": 1, "provider_message_id": "later"}
                        | {"status": "SENT"},
                        item
                        | {"kind": "notice", "position": 2, "item_id": "n", "type": "account"}
                        | {"content": "news", "data": {}},
                    ]
                ),
            ],
        )
    owner.execute("select chatsync.stamp()")
    for tenant in ("t1", "t2"):
        owner.execute("select chatsync.publish(%s, array['x'], 'x', '{}')", [tenant])
    for table in READABLE | HIDDEN:
        assert seen(owner, table) >= {"t1", "t2"}, table
    owner.close()
    return shared


def seen(connection: SyncConnection, table: str) -> set[object]:
    """The tenants whose rows the connection sees."""
    query = sql.SQL("select distinct tenant_id from {}").format(sql.Identifier("chatsync", table))
    return {row[0] for row in connection.execute(query)}


def test_every_table_with_a_tenant_is_looked_at_here(filled: Connections) -> None:
    with filled.open("chatsync_owner") as owner:
        rows = owner.execute(
            "select tablename from pg_policies where policyname = 'gateway_sees_named_tenants'"
        )
        assert {row[0] for row in rows} == READABLE | HIDDEN


@pytest.mark.parametrize("table", sorted(READABLE))
@pytest.mark.parametrize(
    ("tenants", "expected"),
    [
        ("", set[str]()),
        ("t1", {"t1"}),
        ("t1,t2", {"t1", "t2"}),
        ("t2,nobody", {"t2"}),
        ("t", set[str]()),
        ("%", set[str]()),
    ],
)
def test_a_gateway_sees_the_rows_of_the_tenants_that_it_names(
    filled: Connections, table: str, tenants: str, expected: set[str]
) -> None:
    with filled_gateway(filled, tenants) as gateway:
        assert seen(gateway, table) == expected


@pytest.mark.parametrize("table", sorted(HIDDEN))
def test_a_gateway_cannot_read_what_only_workers_need(filled: Connections, table: str) -> None:
    with (
        filled_gateway(filled, "t1") as gateway,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        seen(gateway, table)


def filled_gateway(filled: Connections, tenants: str) -> SyncConnection:
    return filled.open("chatsync_gateway", tenants=tenants)


def test_a_session_that_never_named_a_tenant_sees_nothing(filled: Connections) -> None:
    with psycopg.connect(filled.url, autocommit=True) as gateway:
        gateway.execute("set role chatsync_gateway")
        for table in READABLE:
            assert seen(gateway, table) == set(), table


def test_the_tenants_of_a_transaction_are_forgotten_at_its_end(filled: Connections) -> None:
    with psycopg.connect(filled.url, autocommit=True) as gateway:
        gateway.execute("set role chatsync_gateway")
        with gateway.transaction():
            gateway.execute("select set_config('chatsync.tenants', 't1', true)")
            assert seen(gateway, "messages") == {"t1"}

        assert value(gateway, "select current_setting('chatsync.tenants', true)") == ""
        for table in READABLE:
            assert seen(gateway, table) == set(), table


@pytest.mark.parametrize(
    "view", ["wire_contacts", "wire_conversations", "wire_inboxes", "wire_messages"]
)
def test_a_view_shows_no_more_than_its_tables(filled: Connections, view: str) -> None:
    with filled_gateway(filled, "") as gateway:
        assert seen(gateway, view) == set()
        gateway.execute("set chatsync.tenants = 't2'")
        assert seen(gateway, view) == {"t2"}


def test_asking_a_function_for_a_tenant_does_not_show_it(filled: Connections) -> None:
    with filled_gateway(filled, "t1") as gateway:
        for query in (
            "select * from chatsync.read_events(array['t2'], array[0::bigint], 10)",
            "select * from chatsync.stream_positions(array['t2'])",
            "select * from chatsync.list_conversations('t2', '{}', 10)",
            "select * from chatsync.snapshot_page('t2', '{}', 0, 10)",
            "select * from chatsync.list_inboxes('t2')",
        ):
            assert gateway.execute(query.encode()).fetchall() == []
            assert gateway.execute(query.replace("t2", "t1").encode()).fetchall() != []


def test_a_gateway_publishes_for_the_tenants_that_it_names(connections: Connections) -> None:
    owner = connections.open("chatsync_owner")
    for tenant in ("t1", "t2"):
        owner.execute("select chatsync.create_tenant(%s)", [tenant])
    gateway = connections.open("chatsync_gateway", tenants="t1")
    gateway.execute("select chatsync.publish('t1', array['x'], 'x', '{}')")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        gateway.execute("select chatsync.publish('t2', array['x'], 'x', '{}')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        gateway.execute(
            "insert into chatsync.outbox (tenant_id, topics, type, data)"
            " values ('t2', array['x'], 'x', '{}')"
        )
    assert seen(owner, "outbox") == {"t1"}


def test_a_worker_sees_every_tenant(filled: Connections) -> None:
    with filled.open("chatsync_worker") as worker:
        # Tickets are the gateways' own, and reached by two functions alone.
        for table in READABLE | HIDDEN - {"tickets"}:
            assert seen(worker, table) >= {"t1", "t2"}, table


def test_a_partition_of_the_log_is_no_way_round(filled: Connections) -> None:
    with filled_gateway(filled, "t1") as gateway:
        partitions = gateway.execute(
            "select relname from pg_class where relispartition and relkind = 'r'"
            " and relnamespace = 'chatsync'::regnamespace"
        ).fetchall()
        assert partitions
        for (partition,) in partitions:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                seen(gateway, str(partition))


def test_stamping_under_the_gateways_role_numbers_the_events_of_all_tenants(
    connections: Connections, worker: SyncConnection
) -> None:
    # Without `security definer` it would return nothing and say nothing.
    for tenant in ("t1", "t2"):
        worker.execute("select chatsync.create_tenant(%s)", [tenant])
        worker.execute("select chatsync.publish(%s, array['x'], 'x', '{}')", [tenant])
    gateway = connections.open("chatsync_gateway")

    assert value(gateway, "select chatsync.outbox_waiting()") is True
    assert value(gateway, "select chatsync.stamp()") == {"t1": 1, "t2": 1}
    assert value(gateway, "select chatsync.outbox_waiting()") is False
    assert seen(gateway, "event_log") == set()
    gateway.execute("set chatsync.tenants = 't1'")
    assert seen(gateway, "event_log") == {"t1"}


def test_a_gateway_finds_an_inbox_and_its_secret_before_it_knows_the_tenant(
    filled: Connections,
) -> None:
    with filled_gateway(filled, "") as gateway:
        found = gateway.execute(
            "select tenant_id, app_secret"
            " from chatsync.resolve_inboxes('whatsapp_cloud', array['number of t2'])"
        ).fetchall()
    assert found == [("t2", "hush")]


def test_a_login_that_took_no_role_can_read_nothing(filled: Connections) -> None:
    with psycopg.connect(filled.url, autocommit=True) as login:
        if login.info.server_version < 160000:
            pytest.skip("before PostgreSQL 16 a granted role is always inherited")
        for table in READABLE | HIDDEN:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                seen(login, table)
