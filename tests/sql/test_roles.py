"""Who owns what and whose rights a function has, read from the catalog."""

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.catalog import names
from sql.queue_calls import value

PUBLIC_FUNCTIONS = {
    "duty_lock",
    "now",
    "ring",
    "ring_for_outbox",
    "silence_lock",
    "status_rank",
    "wire_conversation",
    "wire_message",
    "wire_profile",
    "wire_reactions",
    "wire_time",
}
DEFINER_FUNCTIONS = {
    "access_changed",
    "adopt_inbox",
    "beat_node",
    "cancel_message",
    "create_inbox",
    "create_tenant",
    "delivered_to",
    "discard_one",
    "drop_history",
    "drop_partitions",
    "drop_processed_items",
    "enqueue",
    "enqueue_deliveries",
    "enqueue_many",
    "events_of_message",
    "expire_dead_letters",
    "failed_page",
    "forget_inbound",
    "forget_receipts",
    "heads_of",
    "hold_lane_of_insert",
    "issue_ticket",
    "leave_node",
    "lift_limit",
    "limit_depth",
    "limit_in_flight",
    "limit_rate",
    "lost_devices",
    "move_messages",
    "note_late_entry",
    "oldest_unstamped",
    "open_epochs",
    "other_gateways",
    "outbox_waiting",
    "pause",
    "peek_queue",
    "prepare_partitions",
    "purge_dead_letters",
    "purge_queue",
    "queue_figures",
    "queue_overview",
    "raise_front",
    "raise_low_water",
    "receivers",
    "redrive",
    "redrive_one",
    "refresh_statistics",
    "refuse_if_full",
    "refuse_insert_if_full",
    "reject_delivery",
    "report_gateway",
    "resolve_inbox",
    "resolve_inboxes",
    "rest_queue",
    "resume",
    "retry_message",
    "set_policy",
    "set_reopen_hours",
    "spend_ticket",
    "stamp_for",
    "take_device",
    "take_devices",
    "timeline",
    "trim_streams",
    "write_receipts",
    "wake_queue",
}


@pytest.fixture(scope="module")
def catalog(shared: Connections) -> SyncConnection:
    return shared.open("chatsync_owner")


@pytest.mark.parametrize(
    "role",
    [
        "chatsync_owner",
        "chatsync_worker",
        "chatsync_gateway",
        "chatsync_producer",
        "chatsync_operator",
        "chatsync_reader",
    ],
)
def test_no_role_logs_in_or_has_powers_of_its_own(catalog: SyncConnection, role: str) -> None:
    powers = catalog.execute(
        "select rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication"
        " from pg_roles where rolname = %s",
        [role],
    ).fetchone()
    assert powers == (False,) * 6
    granted = catalog.execute(
        "select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid"
        " where m.member = %s::regrole",
        [role],
    ).fetchall()
    assert granted == []


def test_everything_belongs_to_the_owner(catalog: SyncConnection) -> None:
    strangers = catalog.execute(
        "select relname from pg_class where relnamespace = 'chatsync'::regnamespace"
        " and relowner <> 'chatsync_owner'::regrole"
        " union all select proname from pg_proc where pronamespace = 'chatsync'::regnamespace"
        " and proowner <> 'chatsync_owner'::regrole"
        " union all select nspname from pg_namespace where nspname = 'chatsync'"
        " and nspowner <> 'chatsync_owner'::regrole"
    ).fetchall()
    assert strangers == []


def test_only_the_listed_functions_are_executable_by_public(catalog: SyncConnection) -> None:
    # Without an access list a function is executable by all.
    public = names(
        catalog,
        "select distinct proname from pg_proc p"
        " cross join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a"
        " where p.pronamespace = 'chatsync'::regnamespace and a.grantee = 0",
    )
    assert public == PUBLIC_FUNCTIONS


def test_a_new_function_is_not_executable_by_public(catalog: SyncConnection) -> None:
    with catalog.transaction(force_rollback=True):
        catalog.execute("create function chatsync.fresh() returns integer return 1")
        assert not value(
            catalog, "select has_function_privilege('public', 'chatsync.fresh()', 'execute')"
        )


def test_no_function_depends_on_the_callers_search_path(catalog: SyncConnection) -> None:
    # A body in the form of `return` was resolved when it was made; all others say where they look,
    # but for procedures, which commit and so cannot: there each name has its schema.
    unpinned = names(
        catalog,
        "select proname from pg_proc where pronamespace = 'chatsync'::regnamespace"
        " and prosqlbody is null and prokind <> 'p'"
        " and not exists (select from unnest(proconfig) as s where s like 'search_path=%')",
    )
    assert unpinned == set()


def test_what_forbids_the_planner_a_way_compiles_nothing(catalog: SyncConnection) -> None:
    # Before PostgreSQL 18 what is forbidden costs ten thousand million, and LLVM is called to help:
    # two seconds for a batch that takes two milliseconds.
    compiled = names(
        catalog,
        "select proname from pg_proc where pronamespace = 'chatsync'::regnamespace"
        " and exists (select from unnest(proconfig) as s where s like 'enable_%')"
        " and not 'jit=off' = any (proconfig)",
    )
    assert compiled == set()


def test_every_function_looks_into_temporary_schemas_last(catalog: SyncConnection) -> None:
    # Also those that functions of the owner call: PostgreSQL looks for types and tables in pg_temp
    # first, before pg_catalog, unless the path names it.
    first = names(
        catalog,
        "select proname from pg_proc p cross join unnest(p.proconfig) as s"
        " where pronamespace = 'chatsync'::regnamespace"
        " and s like 'search_path=%' and s not like '%, pg_temp'",
    )
    assert first == set()


def test_only_the_listed_functions_run_as_their_owner(catalog: SyncConnection) -> None:
    definers = names(
        catalog,
        "select proname from pg_proc where pronamespace = 'chatsync'::regnamespace and prosecdef",
    )
    assert definers == DEFINER_FUNCTIONS


def test_a_temporary_type_of_a_gateway_is_never_run_as_the_owner(shared: Connections) -> None:
    gateway = shared.open("chatsync_gateway")
    gateway.execute(
        "create function pg_temp.seen(pg_catalog.jsonb) returns boolean language plpgsql as"
        " $$ begin raise exception 'run as %', current_user; end $$"
    )
    gateway.execute("create domain pg_temp.jsonb as pg_catalog.jsonb check (pg_temp.seen(value))")

    try:
        gateway.execute("select chatsync.stamp()")
    except psycopg.errors.RaiseException as error:
        pytest.fail(f"the gateway's function was {error.diag.message_primary}")
    finally:
        gateway.close()
