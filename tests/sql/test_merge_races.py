"""Contacts that are merged while other transactions write to them, step by step.

Who comes second either sees what the first one did, or raises 40001 and is run again by its caller.
"""

from concurrent.futures import Future

import psycopg
import pytest

from chatsync.providers.inbound import Item, ReadByBusiness
from conftest import Connections, SyncConnection
from sql.inbound_calls import APPLY
from sql.queue_calls import value
from sql.stepping import Rows, Stepper
from sql.story import Story, at, check_rows, described, said, who

PHONE, BSUID = "phone:1", "bsuid:B"
BOTH = who(PHONE, BSUID)


@pytest.fixture
def story(worker: SyncConnection, tenant: str) -> Story:
    """Two contacts of an inbox that are one, as nobody knows yet."""
    assert tenant
    story = Story(worker)
    story.tell(said("a", who(PHONE), second=1))
    story.tell(said("b", who(BSUID), second=2))
    return story


@pytest.fixture
def other(connections: Connections, story: Story) -> Story:
    """Another worker's story of another inbox."""
    worker = connections.open("chatsync_worker")
    inbox_id = value(worker, "select chatsync.create_inbox('t1', 'whatsapp_cloud', '200')")
    return Story(worker, inbox_id)


def run_again_if_refused(running: Future[Rows], story: Story, *items: Item) -> bool:
    """What a worker does; returns whether it had to."""
    try:
        running.result()
    except psycopg.errors.SerializationFailure:
        story.tell(*items)
        return True
    return False


def check_one(owner: SyncConnection, messages: int, unread: int | None = None) -> None:
    """One contact, with everything; one open conversation an inbox."""
    check_rows(owner)
    assert value(owner, "select count(*) from chatsync.contacts where merged_into is null") == 1
    assert value(owner, "select count(*) from chatsync.messages") == messages
    assert value(owner, "select count(distinct contact_id) from chatsync.conversations") == 1
    assert value(owner, "select sum(unread_count) from chatsync.conversations") == (
        messages if unread is None else unread
    )


def test_a_conversation_that_begins_while_its_contact_is_merged_is_begun_again(
    story: Story, other: Story, owner: SyncConnection, stepper: Stepper
) -> None:
    late = said("late", who(BSUID), second=3)
    story.connection.execute("begin")
    story.tell(said("c", BOTH, second=3))
    running = stepper.start_and_wait(other.connection, APPLY, described(other.inbox_id, [late]))
    story.connection.execute("commit")

    assert run_again_if_refused(running, other, late)
    check_one(owner, 4)


def test_a_merge_waits_for_a_conversation_that_begins_and_takes_it_along(
    story: Story, other: Story, owner: SyncConnection, stepper: Stepper
) -> None:
    join = said("c", BOTH, second=3)
    other.connection.execute("begin")
    other.tell(said("late", who(BSUID), second=3))
    running = stepper.start_and_wait(story.connection, APPLY, described(story.inbox_id, [join]))
    other.connection.execute("commit")

    assert not run_again_if_refused(running, story, join)
    check_one(owner, 4)
    assert value(owner, "select count(*) from chatsync.conversations where status = 'OPEN'") == 2


@pytest.mark.parametrize("origin", ["live", "history"])
@pytest.mark.parametrize("is_resolved", [False, True])
@pytest.mark.parametrize("contact", [PHONE, BSUID])
def test_a_message_to_a_conversation_that_is_being_merged_goes_where_its_contact_went(
    connections: Connections,
    story: Story,
    owner: SyncConnection,
    stepper: Stepper,
    origin: str,
    is_resolved: bool,
    contact: str,
) -> None:
    if is_resolved:
        story.change_conversations("status = 'RESOLVED'")
    late = said("late", who(contact), second=4, origin=origin)
    second = Story(connections.open("chatsync_worker"), story.inbox_id)
    story.connection.execute("begin")
    story.tell(said("c", BOTH, second=3, origin="history" if is_resolved else "live"))
    running = stepper.start_and_wait(second.connection, APPLY, described(second.inbox_id, [late]))
    story.connection.execute("commit")

    run_again_if_refused(running, second, late)
    check_one(owner, 4, 4 - is_resolved - (origin == "history"))


def test_a_message_to_a_conversation_that_is_being_given_to_another_contact_is_of_that_contact(
    story: Story, other: Story, owner: SyncConnection, stepper: Stepper
) -> None:
    other.tell(said("x", who(BSUID), second=1))
    late = said("late", who(BSUID), second=4)
    story.connection.execute("begin")
    story.tell(said("c", BOTH, second=3))
    running = stepper.start_and_wait(other.connection, APPLY, described(other.inbox_id, [late]))
    story.connection.execute("commit")

    assert run_again_if_refused(running, other, late)
    check_one(owner, 5)


def test_a_merge_waits_for_a_message_and_takes_it_along(
    connections: Connections, story: Story, owner: SyncConnection, stepper: Stepper
) -> None:
    join = said("c", BOTH, second=3)
    second = Story(connections.open("chatsync_worker"), story.inbox_id)
    second.connection.execute("begin")
    second.tell(said("late", who(BSUID), second=4))
    running = stepper.start_and_wait(story.connection, APPLY, described(story.inbox_id, [join]))
    second.connection.execute("commit")

    assert not run_again_if_refused(running, story, join)
    check_one(owner, 4)


def test_what_is_read_while_its_conversation_is_merged_is_read_where_it_went(
    connections: Connections, story: Story, owner: SyncConnection, stepper: Stepper
) -> None:
    read = ReadByBusiness("b", at(9))
    second = Story(connections.open("chatsync_worker"), story.inbox_id)
    story.connection.execute("begin")
    story.tell(said("c", BOTH, second=3))
    running = stepper.start_and_wait(second.connection, APPLY, described(second.inbox_id, [read]))
    story.connection.execute("commit")

    assert run_again_if_refused(running, second, read)
    check_one(owner, 3, unread=1)


@pytest.mark.parametrize("is_same", [True, False])
def test_two_merges_at_once_leave_one_contact(
    story: Story, other: Story, owner: SyncConnection, stepper: Stepper, is_same: bool
) -> None:
    if not is_same:
        other.tell(said("x", who("lid:L"), second=1))
    later = said("d", BOTH if is_same else who(BSUID, "lid:L"), second=3)
    story.connection.execute("begin")
    story.tell(said("c", BOTH, second=3))
    running = stepper.start_and_wait(other.connection, APPLY, described(other.inbox_id, [later]))
    story.connection.execute("commit")

    run_again_if_refused(running, other, later)
    check_one(owner, 4 if is_same else 5)


def test_a_new_name_of_a_contact_that_is_being_merged_is_the_others_name(
    story: Story, other: Story, owner: SyncConnection, stepper: Stepper
) -> None:
    later = said("d", who(BSUID, "lid:L"), second=3)
    story.connection.execute("begin")
    story.tell(said("c", BOTH, second=3))
    running = stepper.start_and_wait(other.connection, APPLY, described(other.inbox_id, [later]))
    story.connection.execute("commit")

    run_again_if_refused(running, other, later)
    check_one(owner, 4)
    assert value(owner, "select count(*) from chatsync.contact_identities") == 3


LOCK_THIRD = {
    "contacts": "select from chatsync.contacts where contact_id ="
    " (select contact_id from chatsync.contacts order by 1 offset 2 limit 1) for update",
    "conversations": "select from chatsync.conversations where conversation_id ="
    " (select conversation_id from chatsync.conversations order by 1 offset 2 limit 1) for update",
}


@pytest.mark.parametrize("table", LOCK_THIRD)
def test_several_merges_lock_their_rows_by_id_and_not_in_the_order_of_the_items(
    story: Story, other: Story, owner: SyncConnection, stepper: Stepper, table: str
) -> None:
    # Who locked pair by pair would wait for the second pair with nothing in hand, get it, and
    # deadlock with who holds the first pair and waits behind.
    story.tell(said("x", who("phone:2"), second=1))
    story.tell(said("y", who("bsuid:C"), second=2))
    pairs = [said("z", who("phone:2", "bsuid:C"), second=3), said("c", BOTH, second=3)]
    people = [PHONE, BSUID, "phone:2", "bsuid:C"]
    if table == "contacts":
        second = [said(f"{one.content}2", one.contact, second=4) for one in reversed(pairs)]
        rival = other
    else:
        second = [said(f"for {name}", who(name), second=4) for name in people]
        rival = Story(other.connection, story.inbox_id)
    owner.execute("begin")
    owner.execute(LOCK_THIRD[table].encode())
    waiting = [
        stepper.start_and_wait(story.connection, APPLY, described(story.inbox_id, pairs)),
        stepper.start_and_wait(rival.connection, APPLY, described(rival.inbox_id, second)),
    ]
    owner.execute("commit")

    run_again_if_refused(waiting[0], story, *pairs)
    run_again_if_refused(waiting[1], rival, *second)
    check_rows(owner)
    assert value(owner, "select count(*) from chatsync.contacts where merged_into is null") == 2
    assert value(owner, "select sum(unread_count) from chatsync.conversations") == 6 + len(second)
