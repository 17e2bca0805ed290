from itertools import pairwise

import pytest

from chatsync.errors import RateLimited, Unavailable
from chatsync.gateway.effects import Limits
from chatsync.gateway.hub import Hub, Transport
from chatsync.gateway.session import Session
from chatsync.model import Claims, CloseCode


class Listener:
    """Something that the hub knows, noting what it was told."""

    transport: Transport = "websocket"
    is_stalled = False

    def __init__(self) -> None:
        self.session = Session("s1", Limits(), 0.0, has_bearer=False)
        self.wakes = 0
        self.drained: list[tuple[int, int]] = []

    def wake(self) -> None:
        self.wakes += 1

    def drain(self, retry_ms: tuple[int, int]) -> None:
        self.drained.append(retry_ms)

    def dismiss(
        self, code: CloseCode, reason: str, retry_ms: tuple[int, int] | None = None
    ) -> None:
        raise AssertionError("nobody is sent away here")


def claims(tenant: str = "t1", user: str = "u1") -> Claims:
    return Claims(tenant, user, "agent", None, 0.0)


def small_hub() -> Hub:
    return Hub(max_sessions=4, sessions_per_user=2, unauthenticated=3)


def joined(hub: Hub, who: Claims, address: str = "ip") -> Listener:
    member = Listener()
    hub.greet(member, address)
    hub.join(member, who)
    hub.know(address)
    return member


def test_a_process_takes_so_many_sockets_and_no_more():
    hub = small_hub()
    members = [joined(hub, claims(user=f"u{number}")) for number in range(4)]
    with pytest.raises(Unavailable) as caught:
        hub.greet(Listener(), "ip")
    assert caught.value.retry_after_ms
    assert len(hub) == 4
    hub.leave(members[0], claims(user="u0"))
    hub.greet(Listener(), "ip")


def test_who_comes_with_a_token_is_admitted_past_those_without_one():
    hub = small_hub()
    for _ in range(3):
        hub.greet(Listener(), "ip")
    member = Listener()
    hub.admit(member, claims())
    with pytest.raises(Unavailable):
        hub.admit(Listener(), claims(user="u2"))
    hub.leave(member, claims())
    assert len(hub) == 3


def test_who_is_refused_at_admission_is_not_counted():
    hub = small_hub()
    members = [Listener(), Listener()]
    for member in members:
        hub.admit(member, claims())
    with pytest.raises(RateLimited):
        hub.admit(Listener(), claims())
    assert len(hub) == 2
    hub.drain()
    with pytest.raises(Unavailable):
        hub.admit(Listener(), claims(user="u2"))
    for member in members:
        hub.leave(member, claims())
    assert len(hub) == 0
    assert not hub._by_user
    assert not hub._by_tenant


def test_sockets_without_a_token_are_counted_by_address():
    hub = small_hub()
    for _ in range(3):
        hub.greet(Listener(), "one")
    with pytest.raises(RateLimited) as caught:
        hub.greet(Listener(), "one")
    assert caught.value.retry_after_ms
    hub.greet(Listener(), "other")


def test_a_refused_socket_is_not_counted():
    hub = Hub(max_sessions=9, sessions_per_user=2, unauthenticated=1)
    hub.greet(Listener(), "one")
    for _ in range(5):
        with pytest.raises(RateLimited):
            hub.greet(Listener(), "one")
    assert len(hub) == 1
    hub.know("one")
    hub.greet(Listener(), "one")


def test_a_socket_that_said_who_it_is_makes_room_for_another():
    hub = Hub(max_sessions=100, sessions_per_user=50, unauthenticated=1)
    for number in range(20):
        joined(hub, claims(user=f"u{number}"), "one")


def test_a_user_has_so_many_sessions_in_a_tenant_and_no_more():
    hub = Hub(max_sessions=100, sessions_per_user=2, unauthenticated=100)
    first = joined(hub, claims())
    joined(hub, claims())
    late = Listener()
    hub.greet(late, "ip")
    with pytest.raises(RateLimited):
        hub.join(late, claims())
    # Nobody else pays for it: neither a namesake of another tenant nor a colleague.
    joined(hub, claims(tenant="t2"))
    joined(hub, claims(user="u2"))
    hub.leave(first, claims())
    hub.join(late, claims())


def test_a_session_that_was_refused_is_not_woken():
    hub = Hub(max_sessions=100, sessions_per_user=1, unauthenticated=100)
    joined(hub, claims())
    late = Listener()
    hub.greet(late, "ip")
    with pytest.raises(RateLimited):
        hub.join(late, claims())
    hub.wake("t1")
    assert late.wakes == 0


def test_only_the_tenants_own_sessions_are_woken():
    hub = small_hub()
    one, two = joined(hub, claims("t1")), joined(hub, claims("t1", "u2"))
    other = joined(hub, claims("t2"))
    hub.wake("t1")
    hub.wake("nobody")
    assert (one.wakes, two.wakes, other.wakes) == (1, 1, 0)


def test_sessions_are_counted_by_tenant_until_they_leave():
    hub = small_hub()
    leaver = joined(hub, claims())
    joined(hub, claims("t1", "u2"))
    joined(hub, claims("t2"))
    assert hub.sessions_by_tenant() == {"t1": 2, "t2": 1}
    hub.leave(leaver, claims())
    assert hub.sessions_by_tenant() == {"t1": 1, "t2": 1}


def test_who_left_is_not_woken():
    hub = small_hub()
    member = joined(hub, claims())
    hub.leave(member, claims())
    hub.wake("t1")
    assert member.wakes == 0
    assert len(hub) == 0


def test_a_socket_that_leaves_before_it_said_who_it_is_is_forgotten():
    hub = small_hub()
    member = Listener()
    hub.greet(member, "ip")
    hub.know("ip")
    hub.leave(member, None)
    assert len(hub) == 0


def test_visitors_leave_nothing_behind():
    hub = Hub(max_sessions=10, sessions_per_user=1, unauthenticated=1)
    for number in range(100):
        who = claims(f"t{number}", f"u{number}")
        hub.leave(joined(hub, who, f"ip{number}"), who)
    assert not hub._unauthenticated
    assert not hub._by_user
    assert not hub._by_tenant
    assert not hub._everyone


def test_watchers_are_woken_until_they_stop_watching():
    hub = small_hub()
    watcher, session = Listener(), joined(hub, claims())
    hub.watch(watcher, "t1")
    hub.wake("t1")
    hub.unwatch(watcher, "t1")
    hub.unwatch(watcher, "t1")
    hub.wake("t1")
    assert (watcher.wakes, session.wakes) == (1, 2)
    assert len(hub) == 1


def test_a_session_may_leave_while_others_are_woken():
    hub = small_hub()

    class Leaver(Listener):
        def wake(self) -> None:
            super().wake()
            hub.wake("t2")

    leaver = Leaver()
    hub.greet(leaver, "ip")
    hub.join(leaver, claims())
    other = joined(hub, claims("t2"))
    hub.wake("t1")
    assert (leaver.wakes, other.wakes) == (1, 1)


def test_a_draining_hub_takes_nobody_and_sends_everyone_away():
    hub = Hub(max_sessions=100, sessions_per_user=100, unauthenticated=100)
    members = [joined(hub, claims(user=f"u{number}")) for number in range(9)]
    silent = Listener()
    hub.greet(silent, "ip")
    hub.drain(spread_ms=5000)
    assert hub.is_draining
    with pytest.raises(Unavailable):
        hub.greet(Listener(), "ip")
    windows = [window for member in (*members, silent) for window in member.drained]
    assert len(windows) == 10


def test_drained_sessions_return_spread_out_and_not_as_one():
    hub = Hub(max_sessions=1000, sessions_per_user=1000, unauthenticated=1000)
    members = [joined(hub, claims()) for _ in range(500)]
    hub.drain(spread_ms=5000)
    starts = sorted(start for member in members for start, _ in member.drained)
    assert starts[0] == 0
    assert all(0 <= start < 5000 for start in starts)
    assert max(b - a for a, b in pairwise(starts)) <= 20
    assert all(start < end for member in members for start, end in member.drained)


def test_draining_nobody_is_done_at_once():
    hub = small_hub()
    hub.drain()
    assert hub.is_draining
