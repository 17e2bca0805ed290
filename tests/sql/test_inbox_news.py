"""What a provider says of an inbox: its connection, its QR codes, its account."""

from typing import Any

import pytest

from chatsync.providers.inbound import Connection, Notice
from conftest import SyncConnection
from sql.inbound_calls import everything
from sql.story import Event, Story, at, forgotten

CODE = {"code": "2@x", "base64": "data:…", "pairingCode": None}


def paired(story: Story, state: str = "close") -> None:
    """An instance as create_inbox() leaves it, or in another state."""
    story.connection.execute("update chatsync.inboxes set state = %s", [state])


def told(events: list[Event]) -> list[tuple[str, Any]]:
    return [(kind, data.get("state")) for kind, data in events]


def inbox(story: Story) -> dict[str, Any]:
    return story.value("select inbox from chatsync.wire_inboxes")


@pytest.mark.parametrize("reason", [428, None])
def test_a_connection_that_flaps_is_one_event(
    undone_worker: SyncConnection, reason: int | None
) -> None:
    with forgotten(undone_worker) as story:
        paired(story, "open")
        flaps = [Connection("close", reason), Connection("connecting", 200)] * 10
        events = story.tell_each([one] for one in flaps)
        events += story.tell(*flaps)

        assert told(events) == [("connection:update", "close")]
        assert inbox(story)["state"] == "close"
        assert told(story.tell(Connection("open", 200))) == [("connection:update", "open")]
        assert story.tell(Connection("open", 200)) == []


@pytest.mark.parametrize("reason", [401, None])
def test_a_first_connection_is_shown_while_it_is_made(
    undone_worker: SyncConnection, reason: int | None
) -> None:
    with forgotten(undone_worker) as story:
        paired(story)
        states = [Connection("connecting", 200), Connection("close", reason)] * 3
        assert told(story.tell_each([one] for one in states)) == [
            ("connection:update", "connecting"),
            ("connection:update", "close"),
        ]


def test_an_event_of_a_connection_has_its_state_its_reason_and_its_version(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        paired(story, "open")
        ((kind, data),) = story.tell(Connection("close", 401))
        assert kind == "connection:update"
        assert data == {
            "inboxId": str(story.inbox_id),
            "state": "close",
            "reason": 401,
            "version": 2,
        }
        shown = inbox(story)
        assert (shown["id"], shown["state"], shown["reason"], shown["version"]) == (
            str(story.inbox_id),
            "close",
            401,
            2,
        )
        # Another reason is news: it may need another hand.
        assert [data["reason"] for _, data in story.tell(Connection("close", 515))] == [515]
        assert story.tell(Connection("close")) == []


def test_a_refused_connection_is_told(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        paired(story, "connecting")
        refused = [Connection("refused"), Connection("connecting")] * 3
        assert told(story.tell_each([one] for one in refused)) == [("connection:update", "refused")]


def test_a_qr_code_is_shown_until_the_connection_opens(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        paired(story)
        story.tell(Connection("connecting"))
        ((kind, data),) = story.tell(Connection(None, qrcode=CODE))
        assert kind == "qrcode:update"
        assert data == {
            "inboxId": str(story.inbox_id),
            "state": "connecting",
            "qrcode": CODE,
            "version": 3,
        }
        assert inbox(story)["qrcode"] == CODE
        assert story.tell(Connection(None, qrcode=CODE)) == []
        assert len(story.tell(Connection(None, qrcode=CODE | {"code": "2@y"}))) == 1

        (opened,) = story.tell(Connection("open"))
        assert "qrcode" not in opened[1]
        assert "qrcode" not in inbox(story)


def test_a_qr_code_that_comes_after_the_connection_opened_is_not_shown(
    undone_worker: SyncConnection,
) -> None:
    with forgotten(undone_worker) as story:
        paired(story, "open")
        assert story.tell(Connection(None, qrcode=CODE)) == []
        assert "qrcode" not in inbox(story)


def test_a_notice_is_kept_and_told_once(undone_worker: SyncConnection) -> None:
    notice = Notice("n1", "account", "RESTRICTED", at(5), {"accountId": "77", "days": 3})
    with forgotten(undone_worker) as story:
        ((kind, data),) = story.tell(notice)
        assert kind == "connection:update"
        assert data == {
            "inboxId": str(story.inbox_id),
            "state": "open",
            "version": 2,
            "notice": {
                "kind": "account",
                "title": "RESTRICTED",
                "data": {"accountId": "77", "days": 3},
                "timestamp": "2026-01-01T12:00:05.000Z",
            },
        }
        before = everything(story.connection)
        assert story.tell(notice) == story.tell(notice, notice) == []
        assert everything(story.connection) == before
        assert story.rows(
            "select inbox_id, kind, title, data ->> 'days', occurred_at from chatsync.inbox_notices"
        ) == [(story.inbox_id, "account", "RESTRICTED", "3", at(5))]


def test_news_of_an_inbox_leave_the_others_alone(undone_worker: SyncConnection) -> None:
    with forgotten(undone_worker) as story:
        other = story.beside()
        paired(story, "open")
        other.tell(Connection("close", 401), Notice("n1", "channel_error", "x", at(1)))
        story.tell(Notice("n1", "channel_error", "x", at(1)))
        assert story.rows("select state, version from chatsync.inboxes order by inbox_id") == [
            ("open", 2),
            ("close", 3),
        ]
        assert story.value("select count(*) from chatsync.inbox_notices") == 2
