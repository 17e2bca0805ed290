"""Triggers that write a history as it is committed, and gates at which a worker's session waits.

A gate is a point inside a transaction: `claiming` and `settling` are the end of these statements,
`committing` is inside COMMIT. A session of a gated worker waits there for an advisory lock.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg

from conftest import SyncConnection
from crash.history import Kind, Record
from sql.queue_calls import value

# A transactional queue and an external one.
QUEUES = ("booked", "called")
GATES = ("claiming", "settling", "committing")
LOCK_CLASS = 77

SCHEMA: LiteralString = """
create schema crash authorization chatsync_owner;
set role chatsync_owner;
grant usage on schema crash to chatsync_worker;
create table crash.history (
  at timestamptz not null, kind text, queue text, n integer, key text, worker text, lease bigint,
  stops boolean
);
grant select, insert on crash.history to chatsync_worker;
create table crash.names (worker_id bigint, name text);
create table crash.gates (point text, worker text);

create function crash.wait_at(p_point text, p_queue text, p_worker text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from crash.gates g where g.point = p_point and g.worker = p_worker) then
    perform pg_advisory_xact_lock_shared(77, case p_queue when 'booked' then 1 else 2 end);
  end if;
end $$;

create function crash.note_worker() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into crash.names values (new.worker_id, new.name);
  return null;
end $$;
create trigger notes after insert on chatsync.workers for each row
execute function crash.note_worker();

create function crash.note_message() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_row chatsync.message_queue := case tg_op when 'DELETE' then old else new end;
  v_is_end boolean := tg_op = 'DELETE';
  v_worker text := (select name from crash.names where worker_id = v_row.worker_id);
  v_stops boolean := coalesce((v_row.payload ->> 'stops')::boolean, false);
begin
  insert into crash.history values (
    clock_timestamp(), case when v_is_end then 'settled' else 'given' end, v_row.queue,
    (v_row.payload ->> 'n')::integer, v_row.ordering_key, v_worker, v_row.lease_id, v_stops);
  if v_stops then
    perform crash.wait_at(
      case when v_is_end then 'settling' else 'claiming' end, v_row.queue, v_worker);
  end if;
  return null;
end $$;
create trigger notes_claim after update on chatsync.message_queue for each row
when (new.lease_id is not null and new.lease_id is distinct from old.lease_id)
execute function crash.note_message();
create trigger notes_end after delete on chatsync.message_queue for each row
execute function crash.note_message();

create function crash.note_letter() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into crash.history values (
    clock_timestamp(), 'dead', new.queue, (new.summary ->> 'n')::integer, new.ordering_key);
  return null;
end $$;
create trigger notes after insert on chatsync.failed_messages for each row
execute function crash.note_letter();

-- The time of a record is that of its commit, but for microseconds.
create function crash.note_commit() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if new.stops and new.kind in ('effect', 'settled') then
    perform crash.wait_at('committing', new.queue, new.worker);
  end if;
  update crash.history set at = clock_timestamp()
  where kind = new.kind and n = new.n and at = new.at;
  return null;
end $$;
create constraint trigger notes after insert on crash.history deferrable initially deferred
for each row execute function crash.note_commit();
reset role;
"""


def install(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as application:
        application.execute(SCHEMA)


def close_gate(owner: SyncConnection, point: str, worker: str) -> None:
    """Let no session of this worker pass a point, until the gates are opened."""
    for queue in range(1, len(QUEUES) + 1):
        owner.execute("select pg_advisory_lock(%s, %s)", [LOCK_CLASS, queue])
    owner.execute("insert into crash.gates values (%s, %s)", [point, worker])


def open_gates(owner: SyncConnection) -> None:
    """Let go who waits, and whoever comes; also where a restart opened them already."""
    owner.execute("delete from crash.gates")
    owner.execute("select pg_advisory_unlock_all()")


def waiting_queues(owner: SyncConnection) -> int:
    """In how many queues somebody waits at a gate."""
    return value(
        owner,
        "select count(distinct objid) from pg_locks"
        " where locktype = 'advisory' and classid = %s and not granted"
        " and database = (select oid from pg_database where datname = current_database())",
        [LOCK_CLASS],
    )


def histories(
    owner: SyncConnection, calls: Path, enqueued: Sequence[tuple[float, str, Record]]
) -> dict[str, list[Record]]:
    """What happened in each queue, in the order of time: one clock serves all who wrote it."""
    found: list[tuple[float, str, Record]] = list(enqueued)
    rows: list[Any] = owner.execute(
        "select extract(epoch from at)::float, queue, kind, n, key, worker, lease"
        " from crash.history"
    ).fetchall()
    found += [(at, queue, Record(*record)) for at, queue, *record in rows]
    for line in calls.read_text().splitlines() if calls.exists() else ():
        at, kind, n, key, worker = line.split()
        record = Record(cast("Kind", kind), int(n), None if key == "-" else key, worker)
        found.append((float(at), "called", record))
    found.sort(key=lambda entry: entry[0])
    return {queue: [record for _, name, record in found if name == queue] for queue in QUEUES}
