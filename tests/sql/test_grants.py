"""Which role may call which function, and which table it may write."""

import psycopg
import pytest

from conftest import Connections, SyncConnection

DOCTOR = {"check_indexes", "check_setup", "check_vacuum", "doctor", "vacuum_pins"}
GATEWAY = DOCTOR | {
    "can_subscribe",
    "changes",
    "enqueue_deliveries",
    "follow_events",
    "get_conversation",
    "list_conversations",
    "list_inboxes",
    "list_messages",
    "now",
    "outbox_waiting",
    "read_events",
    "refused_topics",
    "reject_delivery",
    "resolve_inbox",
    "resolve_inboxes",
    "ring",
    "ring_hint",
    "seq_before",
    "snapshot_page",
    "stamp",
    "stamp_and_ring",
    "status_rank",
    "stream_positions",
    "take_deliveries",
    "wire_conversation",
    "wire_message",
    "wire_profile",
    "wire_reactions",
    "wire_time",
}
# What any role may call: what views and defaults stand on.
ANYBODY = {
    "now",
    "ring",
    "status_rank",
    "wire_conversation",
    "wire_message",
    "wire_profile",
    "wire_reactions",
    "wire_time",
}
OPERATOR = (
    ANYBODY
    | DOCTOR
    | {
        "cancel_message",
        "dead_letters",
        "move_messages",
        "oldest_unstamped",
        "pause",
        "peek_messages",
        "peek_queue",
        "purge_dead_letters",
        "purge_queue",
        "queue_totals",
        "redrive",
        "resume",
        "retry_message",
        "timeline",
    }
)
PRODUCER = ANYBODY | {"enqueue"}
READER = ANYBODY
WORKER = (
    GATEWAY
    | OPERATOR
    | {
        "adopt_inbox",
        "adopted_orphans",
        "amend_message",
        "apply_amendments",
        "apply_inbound",
        "apply_inbound_and_settle",
        "apply_inbox_news",
        "apply_late",
        "apply_reads",
        "apply_replies",
        "apply_statuses",
        "call_rank",
        "claim",
        "claim_from_lanes",
        "claim_keyless",
        "complete",
        "contacts_to_merge",
        "conversation_news",
        "create_inbox",
        "create_tenant",
        "dead_letter",
        "drop_partitions",
        "drop_processed_items",
        "enqueue",
        "enqueue_many",
        "fail",
        "forget_inbound",
        "get_next_queue_message",
        "heartbeat",
        "hold_conversations",
        "hold_lanes",
        "hold_provider_ids",
        "insert_messages",
        "is_newer_name",
        "is_paused",
        "is_unread",
        "join_orphans",
        "joined_profile",
        "lane",
        "let_lanes_go",
        "lock_open_conversations",
        "look_for_work",
        "look_up_contacts",
        "make_contacts",
        "make_conversations",
        "mark_read",
        "merge_contacts",
        "merge_known_contacts",
        "merge_open_conversations",
        "move_connection",
        "next_ready_at",
        "note_inbox",
        "open_epochs",
        "park_lanes",
        "park_messages",
        "prepare_partitions",
        "process_deliveries",
        "promote",
        "publish",
        "publish_changed_messages",
        "publish_contacts",
        "publish_inbox",
        "publish_statuses",
        "publish_stored",
        "reap",
        "refresh_statistics",
        "register_worker",
        "reject_items",
        "release",
        "resolve_contacts",
        "resume_due",
        "session_worker",
        "set_reopen_hours",
        "settle",
        "settle_and_claim",
        "settle_failed",
        "settle_some",
        "show_qrcode",
        "store_messages",
        "sweep_lanes",
        "take_last_conversations",
        "told_contacts",
        "touch_conversations",
        "trim_streams",
        "unknown_messages",
        "unpark",
        "unprocessed_items",
        "unregister_worker",
        "update_contacts",
        "worker_lock_class",
    }
)
OWNER = WORKER | {
    "can_be_redriven",
    "correlated_events",
    "drop_days",
    "find_dead_letters",
    "hold_lane_of_insert",
    "hold_message",
    "hold_turns",
    "movable_messages",
    "new_messages",
    "open_epochs_if_moved",
    "prepare_processed_items",
    "preview",
    "protect_tenant_table",
    "require_read_committed",
    "revived",
    "stamping_lock",
}
FUNCTIONS = {
    "chatsync_gateway": GATEWAY,
    "chatsync_worker": WORKER,
    "chatsync_producer": PRODUCER,
    "chatsync_operator": OPERATOR,
    "chatsync_reader": READER,
    "chatsync_owner": OWNER,
}

QUEUE = {"message_queue", "queue_lanes", "queue_limits", "lane_turns", "workers"}
INBOX = {
    "contact_identities",
    "contacts",
    "conversations",
    "message_provider_ids",
    "messages",
    "orphans",
}
WRITABLE = {
    ("chatsync_gateway", "INSERT"): set[str](),
    ("chatsync_gateway", "UPDATE"): set[str](),
    ("chatsync_gateway", "DELETE"): set[str](),
    ("chatsync_gateway", "TRUNCATE"): set[str](),
    ("chatsync_worker", "INSERT"): QUEUE
    | INBOX
    | {"failed_messages", "inbox_notices", "outbox", "processed_items", "tenants"},
    ("chatsync_worker", "UPDATE"): QUEUE | INBOX | {"inboxes"},
    ("chatsync_worker", "DELETE"): QUEUE | INBOX,
    ("chatsync_worker", "TRUNCATE"): set[str](),
    ("chatsync_producer", "INSERT"): {"message_queue"},
    ("chatsync_producer", "UPDATE"): set[str](),
    ("chatsync_producer", "DELETE"): set[str](),
    ("chatsync_producer", "TRUNCATE"): set[str](),
    ("chatsync_operator", "INSERT"): set[str](),
    ("chatsync_operator", "UPDATE"): set[str](),
    ("chatsync_operator", "DELETE"): set[str](),
    ("chatsync_operator", "TRUNCATE"): set[str](),
    ("chatsync_reader", "INSERT"): set[str](),
    ("chatsync_reader", "UPDATE"): set[str](),
    ("chatsync_reader", "DELETE"): set[str](),
    ("chatsync_reader", "TRUNCATE"): set[str](),
}
VIEWS = {"queue_blocked", "queue_depth", "queue_workers"}
# What the three roles besides the processes' may read, as a whole and in parts.
READABLE = {
    "chatsync_producer": set[str](),
    "chatsync_operator": QUEUE | VIEWS | {"failed_messages", "queue_policies", "schema_ledger"},
    "chatsync_reader": VIEWS | {"lane_turns", "queue_lanes", "queue_limits", "workers"},
}
READABLE_IN_PART = {
    "chatsync_producer": {"message_queue": {"id"}},
    "chatsync_operator": dict[str, set[str]](),
    "chatsync_reader": {
        "failed_messages": {"queue"},
        "message_queue": {
            "created_at",
            "deaths",
            "id",
            "inbox_id",
            "lane_key",
            "last_error",
            "lease_id",
            "ordering_key",
            "processed_at",
            "queue",
            "retry_count",
            "scheduled_at",
            "status",
            "tenant_id",
            "worker_id",
        },
    },
}


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
        "lane_key",
        "last_error",
        "lease_id",
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
        if name in GATEWAY:
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
