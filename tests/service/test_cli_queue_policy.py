"""`chatsync queue policy`, on a real database."""

from conftest import SyncConnection
from service.command_line import Operator
from sql.queue_calls import count, value


def test_what_nobody_set_has_the_defaults(operator: Operator, owner: SyncConnection) -> None:
    assert operator("policy").out == "every queue has the defaults\n"
    assert operator("policy", "inbound").out == "inbound has the defaults\n"
    assert operator("policy", "--json").json == []
    assert count(owner, "queue_policies") == 0


def test_a_policy_is_set_in_parts_and_shown(operator: Operator, owner: SyncConnection) -> None:
    said = operator("policy", "outbound", "--archive-days", 3, "--when-head-fails", "skip")
    assert (said.code, said.err) == (0, "")
    changed = operator(
        "policy", "outbound", "--dead-letter-days", 0, "--backoff-base", 0.5, "--backoff-cap", 60,
        "--json",
    )  # fmt: skip
    assert changed.json == [
        {
            "queue": "outbound",
            "when_head_fails": "skip",
            "backoff_base_seconds": 0.5,
            "backoff_cap_seconds": 60,
            "archive_days": 3,
            "dead_letter_days": 0,
        }
    ]
    assert operator("policy", "--json").json == changed.json
    assert operator("policy", "outbound", "--json").json == changed.json
    head, line = operator("policy").out.splitlines()
    assert "ARCHIVE DAYS  DEAD LETTER DAYS" in head
    assert line.split() == ["outbound", "skip", "0.5", "60.0", "3", "0"]
    assert value(owner, "select archive_days from chatsync.queue_policies") == 3


def test_a_change_of_no_queue_is_refused(operator: Operator, owner: SyncConnection) -> None:
    said = operator("policy", "--archive-days", 3)
    assert said.code == 2
    assert "name the queue whose policy is to change" in said.err
    assert count(owner, "queue_policies") == 0


def test_what_cannot_be_is_refused_with_a_sentence(
    operator: Operator, owner: SyncConnection
) -> None:
    assert operator("policy", "outbound", "--archive-days", -1).code == 2
    assert operator("policy", "outbound", "--when-head-fails", "stop").code == 2
    said = operator("policy", "outbound", "--backoff-base", 400)
    assert said.code == 2
    assert "backoff_is_positive" in said.err
    assert count(owner, "queue_policies") == 0
