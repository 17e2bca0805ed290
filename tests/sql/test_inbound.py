"""What apply_inbound() makes of the items of deliveries."""

import pytest

from conftest import SyncConnection
from sql.inbound_calls import (
    Json,
    apply,
    create_inbox,
    echo,
    events,
    everything,
    message,
    person,
    status,
)
from sql.queue_calls import count, value


@pytest.fixture
def worker(undone_worker: SyncConnection) -> SyncConnection:
    return undone_worker


@pytest.fixture
def inbox(worker: SyncConnection) -> int:
    return create_inbox(worker)


def test_a_first_message_makes_a_contact_a_conversation_and_their_events(
    worker: SyncConnection, inbox: int
) -> None:
    apply(worker, message(inbox, "m1"), message(inbox, "m2"))

    assert count(worker, "contacts") == count(worker, "conversations") == 1
    (opened, conversation), *told = events(worker)
    assert opened == "conversation:new"
    assert conversation["conversation"]["unreadCount"] == 2
    assert conversation["conversation"]["lastMessage"]["content"] == "m2"
    assert [(kind, data["message"]["content"]) for kind, data in told] == [
        ("message:new", "m1"),
        ("message:new", "m2"),
    ]


def test_a_later_message_updates_its_conversation_once_for_the_batch(
    worker: SyncConnection, inbox: int
) -> None:
    apply(worker, message(inbox, "m1"))
    before = len(events(worker))

    apply(worker, *(message(inbox, f"m{number}") for number in (2, 3, 4)))

    later = events(worker)[before:]
    assert [kind for kind, _ in later] == ["message:new"] * 3 + ["conversation:updated"]
    assert later[-1][1]["updates"]["unreadCount"] == 4
    assert later[-1][1]["updates"]["lastMessage"]["content"] == "m4"


def test_events_carry_the_versions_and_values_that_were_committed(
    worker: SyncConnection, inbox: int
) -> None:
    for number in range(3):
        apply(worker, message(inbox, f"in {number}"), echo(inbox, f"out {number}"))
        apply(worker, status(inbox, f"out {number}", "DELIVERED"))

    latest: dict[str, int] = {}
    for name, version in map(subject, events(worker)):
        assert version > latest.get(name, 0)
        latest[name] = version
    stored = worker.execute(
        "select 'message ' || message_id, version from chatsync.messages union all"
        " select 'conversation ' || conversation_id, version from chatsync.conversations"
    ).fetchall()
    assert latest == dict(stored)  # pyright: ignore[reportArgumentType, reportCallIssue]


def subject(event: tuple[str, Json]) -> tuple[str, int]:
    """What an event is about, and the version that it says."""
    kind, data = event
    if kind == "message:status-update":
        return f"message {data['messageId']}", data["version"]
    entity = "message" if kind == "message:new" else "conversation"
    return f"{entity} {data[entity]['id']}", data[entity]["version"]


def test_applying_again_changes_nothing_and_tells_nothing(
    worker: SyncConnection, inbox: int
) -> None:
    items = [
        message(inbox, "m1"),
        echo(inbox, "e1"),
        status(inbox, "e1", "SENT"),
        status(inbox, "e1", "READ"),
        status(inbox, "unknown", "SENT"),
    ]
    apply(worker, *items)
    before = everything(worker)

    apply(worker, *items)
    for item in items:
        apply(worker, item)
    apply(worker, *reversed(items))

    assert everything(worker) == before


def test_an_id_that_comes_twice_in_a_batch_is_one_message(
    worker: SyncConnection, inbox: int
) -> None:
    apply(worker, message(inbox, "m1", content="first"), message(inbox, "m1", content="second"))

    assert worker.execute("select content from chatsync.messages").fetchall() == [("first",)]
    assert value(worker, "select unread_count from chatsync.conversations") == 1
    assert [kind for kind, _ in events(worker)] == ["conversation:new", "message:new"]


def test_an_id_belongs_to_its_inbox(worker: SyncConnection, inbox: int) -> None:
    other = create_inbox(worker, "200")
    apply(worker, message(inbox, "m1"), message(other, "m1"))

    assert count(worker, "messages") == count(worker, "conversations") == 2
    assert count(worker, "contacts") == 1


def test_messages_keep_the_order_of_the_items(worker: SyncConnection, inbox: int) -> None:
    names = [f"m{number * 7 % 20}" for number in range(20)]
    apply(worker, *(message(inbox, name) for name in names))

    rows = worker.execute("select content from chatsync.messages order by sent_at, position")
    assert [row[0] for row in rows] == names
    told = [data["message"]["content"] for kind, data in events(worker) if kind == "message:new"]
    assert told == names


def test_a_conversation_that_waits_for_an_agent_takes_the_next_message(
    worker: SyncConnection, inbox: int
) -> None:
    apply(worker, message(inbox, "m1"))
    worker.execute("update chatsync.conversations set status = 'PENDING', assignee_id = 'u7'")
    apply(worker, message(inbox, "m2"))

    assert count(worker, "conversations") == 1
    assert value(
        worker,
        "select bool_and('user:u7' = any (topics)) and count(*) = 2 from chatsync.outbox"
        " where correlation_id = 'c-m2'",
    )


@pytest.mark.parametrize(
    ("direction", "origin", "unread"),
    [
        ("INBOUND", "live", 1),
        ("INBOUND", "history", 0),
        ("OUTBOUND", "echo", 0),
        ("OUTBOUND", "history", 0),
    ],
)
def test_only_what_a_customer_says_now_is_unread(
    worker: SyncConnection,
    inbox: int,
    direction: str,
    origin: str,
    unread: int,
) -> None:
    apply(worker, message(inbox, "m1", direction=direction, origin=origin))
    apply(worker, message(inbox, "m2", direction=direction, origin=origin))

    assert value(worker, "select unread_count from chatsync.conversations") == 2 * unread


def test_the_last_message_is_the_newest_by_the_providers_clock(
    worker: SyncConnection, inbox: int
) -> None:
    def last_after(name: str, second: int) -> str:
        apply(worker, message(inbox, name, occurred_at=f"2026-01-01T12:00:{second:02}Z"))
        return value(
            worker,
            "select m.content from chatsync.conversations v"
            " join chatsync.messages m on m.message_id = v.last_message_id"
            " and m.sent_at = v.last_message_at",
        )

    assert last_after("middle", 30) == "middle"
    assert last_after("older", 10) == "middle"
    assert last_after("newest", 50) == "newest"
    assert last_after("same second", 50) == "same second"
    assert last_after("late", 49) == "same second"


def test_the_newest_of_a_batch_is_last_wherever_it_stands(
    worker: SyncConnection, inbox: int
) -> None:
    seconds = (20, 59, 40)
    items = [message(inbox, f"{s}", occurred_at=f"2026-01-01T12:00:{s}Z") for s in seconds]
    apply(worker, *items)

    assert events(worker)[0][1]["conversation"]["lastMessage"]["content"] == "59"


def test_a_reply_knows_what_it_answers(worker: SyncConnection, inbox: int) -> None:
    apply(worker, message(inbox, "m1"))
    apply(worker, message(inbox, "m2", reply_to="m1"), message(inbox, "m3", reply_to="never seen"))

    rows = worker.execute(
        "select m.content, r.content from chatsync.messages m"
        " left join chatsync.messages r on r.message_id = m.reply_to order by m.message_id"
    ).fetchall()
    assert rows == [("m1", None), ("m2", "m1"), ("m3", None)]
    kept = worker.execute(
        "select content, metadata ->> 'replyTo' from chatsync.messages order by message_id"
    ).fetchall()
    assert kept == [("m1", None), ("m2", None), ("m3", "never seen")]


def test_a_contact_is_found_by_any_identity_and_learns_the_others(
    worker: SyncConnection, inbox: int
) -> None:
    for number, identities in enumerate((["phone:1"], ["phone:1", "bsuid:b"], ["bsuid:b"])):
        apply(worker, message(inbox, f"m{number}"), people=[person(0, *identities)])

    assert count(worker, "contacts") == count(worker, "conversations") == 1
    assert count(worker, "contact_identities") == 2


def test_a_new_name_is_told_once_and_only_the_customer_gives_it(
    worker: SyncConnection, inbox: int
) -> None:
    apply(worker, message(inbox, "m1"), people=[person(0, name=None)])
    apply(worker, echo(inbox, "e1"), people=[person(0, name="Book", isRenamed=False)])
    apply(worker, echo(inbox, "e2"), people=[person(0, name="Other", isRenamed=False)])
    for name in ("m2", "m3"):
        apply(worker, message(inbox, name), people=[person(0, name="Own")])

    names = [data["contact"]["name"] for kind, data in events(worker) if kind == "contact:updated"]
    assert names == ["Book", "Own"]
    assert value(worker, "select version from chatsync.contacts") == 3
