"""What devices acknowledged: who may write it, that it never goes back, who asks for it."""

import random
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.log_calls import publish, stamp
from sql.queue_calls import value
from sql.receipt_calls import TOPICS, epoch_of, position, receipt, take, take_all, write
from sql.stepping import Stepper


@pytest.fixture
def gateway(connections: Connections, tenant: str) -> SyncConnection:
    assert tenant
    return connections.open("chatsync_gateway")


@pytest.fixture
def epoch(owner: SyncConnection, gateway: SyncConnection) -> str:
    assert gateway
    return epoch_of(owner)


def test_a_new_device_has_no_position_and_takes_it_from_nobody(gateway: SyncConnection) -> None:
    assert take(gateway, "s1") == (None, None, None, None)


def test_a_device_comes_back_to_what_it_acknowledged(gateway: SyncConnection, epoch: str) -> None:
    take(gateway, "s1")
    write(gateway, receipt("s1", 5, epoch=epoch, is_open=False))
    assert take(gateway, "s2") == (epoch, 5, list(TOPICS), None)


def test_a_session_that_takes_a_device_over_is_told_from_whom(
    gateway: SyncConnection, epoch: str
) -> None:
    take(gateway, "s1")
    write(gateway, receipt("s1", 5, epoch=epoch))
    assert take(gateway, "s2") == (epoch, 5, list(TOPICS), "s1")


def test_a_receipt_never_goes_back_within_an_epoch(
    gateway: SyncConnection, owner: SyncConnection, epoch: str
) -> None:
    take(gateway, "s1")
    write(gateway, receipt("s1", 7, epoch=epoch))
    write(gateway, receipt("s1", 6, epoch=epoch, topics=["user:u1"]))
    assert position(owner) == ("s1", True, 7, list(TOPICS))
    # The same position may be true for more topics, once they are acknowledged as well.
    write(gateway, receipt("s1", 7, epoch=epoch, topics=["user:u1"]))
    assert position(owner) == ("s1", True, 7, ["user:u1"])


def test_the_end_of_a_session_without_a_word_keeps_what_was_acknowledged(
    gateway: SyncConnection, owner: SyncConnection, epoch: str
) -> None:
    take(gateway, "s1")
    write(gateway, receipt("s1", 7, epoch=epoch))
    take(gateway, "s2")
    write(gateway, receipt("s2", is_open=False))
    assert position(owner) == ("s2", False, 7, list(TOPICS))


def test_a_position_of_a_former_life_of_the_log_is_not_kept(
    gateway: SyncConnection, owner: SyncConnection, worker: SyncConnection, epoch: str
) -> None:
    take(gateway, "s1")
    write(gateway, receipt("s1", 900, epoch=epoch))
    worker.execute("select chatsync.open_epochs()")
    now = epoch_of(owner)
    write(gateway, receipt("s1", 3, epoch=now))
    assert position(owner)[2] == 3
    # A statement of long ago that comes late.
    write(gateway, receipt("s1", 901, epoch=epoch))
    assert position(owner)[2] == 3


def test_only_the_session_that_has_the_device_writes_and_the_other_hears_of_it(
    gateway: SyncConnection, owner: SyncConnection, epoch: str
) -> None:
    take(gateway, "s1")
    take(gateway, "s2")
    assert write(gateway, receipt("s1", 9, epoch=epoch)) == ["s1"]
    assert position(owner) == ("s2", True, None, None)
    assert write(gateway, receipt("s2", 4, epoch=epoch)) == []
    assert write(gateway, receipt("s1", is_open=False)) == ["s1"]
    assert position(owner) == ("s2", True, 4, list(TOPICS))
    held = [receipt("s1"), receipt("s2")]
    assert value(gateway, "select chatsync.lost_devices(%s)", [Jsonb(held)]) == ["s1"]


def test_a_device_that_was_away_for_too_long_begins_anew_and_is_forgotten(
    gateway: SyncConnection, owner: SyncConnection, worker: SyncConnection, epoch: str
) -> None:
    for device in ("old", "new"):
        take(gateway, f"s-{device}", device)
        write(gateway, receipt(f"s-{device}", 5, device=device, epoch=epoch, is_open=False))
    owner.execute(
        "update chatsync.receipts set seen_at = now() - interval '8 days' where device = 'old'"
    )
    with gateway.transaction(force_rollback=True):
        assert take(gateway, "s3", "old")[:2] == (None, None)
        assert take(gateway, "s4", "new")[:2] == (epoch, 5)
    assert value(worker, "select chatsync.forget_receipts(7)") == 1
    assert value(owner, "select array_agg(device) from chatsync.receipts") == ["new"]


def test_a_user_keeps_a_hundred_devices_and_nobody_elses_go(
    gateway: SyncConnection, owner: SyncConnection
) -> None:
    take(gateway, "s", "theirs", user="u2")
    for number in range(105):
        take(gateway, f"s{number}", f"d{number}")
    kept = value(
        owner,
        "select array_agg(device order by seen_at) from chatsync.receipts where user_id = 'u1'",
    )
    assert kept == [f"d{number}" for number in range(5, 105)]
    assert value(owner, "select count(*) from chatsync.receipts where user_id = 'u2'") == 1


def test_many_are_taken_at_once_each_as_if_it_were_alone(
    gateway: SyncConnection, owner: SyncConnection, epoch: str
) -> None:
    for device in ("b", "c"):
        take(gateway, f"old {device}", device)
    write(gateway, receipt("old b", 5, device="b", epoch=epoch))
    write(gateway, receipt("old c", 6, device="c", epoch=epoch, is_open=False))
    taken = take_all(
        gateway,
        receipt("s1", device="c"),
        receipt("s2", device="a"),
        receipt("s3", device="b"),
        receipt("s4", device="b"),
        receipt("s5", device="b", user="u2"),
    )
    assert taken == {
        "s1": (epoch, 6, list(TOPICS), None),
        "s2": (None, None, None, None),
        "s3": (epoch, 5, list(TOPICS), "old b"),
        "s4": (epoch, 5, list(TOPICS), "s3"),
        "s5": (None, None, None, None),
    }
    held = owner.execute("select device, session_id from chatsync.receipts where user_id = 'u1'")
    assert set(held.fetchall()) == {("a", "s2"), ("b", "s4"), ("c", "s1")}
    assert take_all(gateway) == {}


def test_devices_that_come_at_once_make_room_for_themselves(
    gateway: SyncConnection, owner: SyncConnection
) -> None:
    take(gateway, "s", "theirs", user="u2")
    for first in (0, 60):
        taken = [receipt(f"s{n}", device=f"d{n}") for n in range(first, first + 60)]
        assert len(take_all(gateway, *taken)) == 60
    kept = "select array_agg(substr(device, 2)::int) from chatsync.receipts where user_id = 'u1'"
    devices = value(owner, kept)
    assert len(devices) == 100
    assert set(range(60, 120)) <= set(devices)
    assert value(owner, "select count(*) from chatsync.receipts where user_id = 'u2'") == 1


def test_two_gateways_that_take_the_same_devices_in_any_order_take_them_in_turn(
    connections: Connections, stepper: Stepper, gateway: SyncConnection, owner: SyncConnection
) -> None:
    other = connections.open("chatsync_gateway")
    names = "abc"
    with gateway.transaction():
        take_all(gateway, *(receipt(f"1{name}", device=name) for name in names))
        second = stepper.start_and_wait(
            other,
            "select taken_from from chatsync.take_devices(%s, 7)",
            [Jsonb([receipt(f"2{name}", device=name) for name in reversed(names)])],
        )
    assert second.result() == [("1a",), ("1b",), ("1c",)]


def test_a_gateway_reads_receipts_by_these_functions_alone(gateway: SyncConnection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        gateway.execute("select * from chatsync.receipts")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        gateway.execute("select * from chatsync.delivered_to('t1', 'u1')")


def test_two_gateways_that_write_one_device_leave_it_with_the_one_that_has_it(
    connections: Connections,
    stepper: Stepper,
    gateway: SyncConnection,
    owner: SyncConnection,
    epoch: str,
) -> None:
    other = connections.open("chatsync_gateway")
    take(gateway, "s1")
    write(gateway, receipt("s1", 5, epoch=epoch))
    with other.transaction():
        assert take(other, "s2")[1:] == (5, list(TOPICS), "s1")
        late = stepper.start_and_wait(
            gateway,
            "select chatsync.write_receipts(%s)",
            [Jsonb([receipt("s1", 9, epoch=epoch)])],
        )
    assert late.result() == [(["s1"],)]
    assert position(owner) == ("s2", True, 5, list(TOPICS))


def test_two_sessions_that_take_a_new_device_at_once_take_it_in_turn(
    connections: Connections, stepper: Stepper, gateway: SyncConnection, owner: SyncConnection
) -> None:
    other = connections.open("chatsync_gateway")
    with gateway.transaction():
        take(gateway, "s1")
        second = stepper.start_and_wait(
            other, "select taken_from from chatsync.take_device('t1', 'u1', 'd', 's2', 7)"
        )
    assert second.result() == [("s1",)]
    assert position(owner)[0] == "s2"


def test_batches_over_the_same_devices_in_any_order_never_lock_each_other_out(
    connections: Connections, gateway: SyncConnection, owner: SyncConnection, epoch: str
) -> None:
    devices = [f"d{number}" for number in range(30)]
    for device in devices:
        take(gateway, "s", device)

    def one(seed: int) -> int:
        chance = random.Random(seed)
        own = connections.open("chatsync_gateway")
        for seq in range(1, 41):
            chance.shuffle(devices_of := devices.copy())
            write(own, *(receipt("s", seq, device=d, epoch=epoch) for d in devices_of))
        return seed

    with ThreadPoolExecutor() as threads:
        assert list(threads.map(one, range(3))) == [0, 1, 2]
    assert value(owner, "select array_agg(distinct seq) from chatsync.receipts") == [40]


def test_operators_see_how_far_devices_are_and_who_got_an_event(
    connections: Connections, gateway: SyncConnection, worker: SyncConnection, epoch: str
) -> None:
    for number in range(3):
        publish(worker, "t1", number)
    stamp(worker)
    for user, device, seq, topics in (
        ("ana", "phone", 2, ["tenant:t1"]),
        ("ana", "desk", 3, ["tenant:t1"]),
        ("bob", "desk", 1, ["tenant:t1"]),
        # Acknowledged, but never held what the event is about.
        ("eve", "desk", 3, ["user:eve"]),
    ):
        take(gateway, user + device, device, user=user)
        write(
            gateway,
            receipt(user + device, seq, user=user, device=device, epoch=epoch, topics=topics),
        )
    operator = connections.open("chatsync_operator")

    devices = operator.execute(
        "select device, delivered_to, behind from chatsync.delivered_to('t1', 'ana')"
    ).fetchall()
    assert sorted(devices) == [("desk", 3, 0), ("phone", 2, 1)]

    def receivers(seq: int) -> list[tuple[object, ...]]:
        return operator.execute("select * from chatsync.receivers('t1', %s)", [seq]).fetchall()

    assert receivers(1) == [("ana", ["desk", "phone"]), ("bob", ["desk"])]
    assert receivers(2) == [("ana", ["desk", "phone"])]
    assert receivers(3) == [("ana", ["desk"])]
    assert receivers(4) == []
    # Of the life of the log before, nothing is known any more.
    worker.execute("select chatsync.open_epochs()")
    assert receivers(1) == []
    assert (
        value(
            operator,
            "select bool_and(delivered_to is null) from chatsync.delivered_to('t1', 'ana')",
        )
        is True
    )
