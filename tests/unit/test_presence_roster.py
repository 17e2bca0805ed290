"""Who is online in a process, on a virtual clock."""

from hypothesis import given
from hypothesis import strategies as st

from chatsync.gateway.presence.roster import Roster
from chatsync.gateway.presence.standing import Standing

ANA = ("t1", "ana")
GRACE = 8.0


def status_of(roster: Roster) -> tuple[str, int] | None:
    standing = roster.standing(ANA)
    return None if standing is None else (standing.status, standing.sessions)


def test_sessions_of_a_user_are_counted_and_the_most_available_counts():
    roster = Roster(GRACE)
    roster.enter("a", ANA, None)
    roster.enter("b", ANA, "Ana")
    assert roster.standing(ANA) == Standing("online", 2, "Ana")
    roster.set_status("a", "away")
    assert status_of(roster) == ("online", 2)
    roster.set_status("b", "busy")
    assert status_of(roster) == ("busy", 2)
    roster.set_status("b", "away")
    assert status_of(roster) == ("away", 2)


def test_a_session_that_ended_lingers_for_the_grace():
    roster = Roster(GRACE)
    roster.enter("a", ANA, None)
    assert roster.leave("a", 0.0) == ANA
    assert roster.tick(GRACE - 0.1) == set()
    assert status_of(roster) == ("online", 1)
    assert roster.due_at == GRACE
    assert roster.tick(GRACE) == {ANA}
    assert status_of(roster) is None
    assert list(roster.users()) == []


def test_a_reload_changes_nothing():
    roster = Roster(GRACE)
    for session in "ab":
        roster.enter(session, ANA, None)
        roster.set_status(session, "busy")
    roster.leave("a", 0.0)
    roster.enter("c", ANA, None)
    assert status_of(roster) == ("busy", 2)
    assert roster.tick(GRACE) == set()
    assert status_of(roster) == ("busy", 2)


def test_whoever_reloads_is_not_away():
    roster = Roster(GRACE)
    roster.enter("a", ANA, None)
    roster.set_status("a", "away")
    roster.leave("a", 0.0)
    roster.enter("b", ANA, None)
    assert status_of(roster) == ("online", 1)


def test_a_session_that_does_not_count_has_no_status():
    roster = Roster(GRACE)
    assert roster.set_status("a", "busy") is None
    assert roster.leave("a", 0.0) is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, 3)),
        st.tuples(st.just("leave"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.floats(0.1, GRACE * 1.5)),
    ),
    max_size=50,
)


@given(STEPS)
def test_a_user_with_a_session_is_online_and_one_without_is_gone_after_the_grace(
    steps: list[tuple[str, float]],
):
    roster = Roster(GRACE)
    now, left_at = 0.0, None
    here: set[float] = set()
    for what, number in steps:
        if what == "wait":
            now += number
        elif what == "enter" and number not in here:
            roster.enter(str(number), ANA, None)
            here.add(number)
        elif what == "leave" and number in here:
            roster.leave(str(number), now)
            here.remove(number)
            left_at = now
        roster.tick(now)
        standing = roster.standing(ANA)
        if here:
            assert standing is not None
            assert standing.sessions >= len(here)
        elif left_at is None or now >= left_at + GRACE:
            assert standing is None
        else:
            assert standing is not None
    roster.tick(now + GRACE)
    standing = roster.standing(ANA)
    assert (standing.sessions if standing else 0) == len(here)
    assert roster.due_at is None
