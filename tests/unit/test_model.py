import pytest

from chatsync.errors import BadCursor
from chatsync.model import Claims, CloseCode, Cursor, full_topic

CLAIMS = Claims("t1", "u1", "agent", None, 0.0)


@pytest.mark.parametrize(
    ("text", "epoch", "seq"),
    [
        ("e.0", "e", 0),
        ("e.1", "e", 1),
        ("0.0", "0", 0),
        ("Ab-_9.123456789012345678", "Ab-_9", 123456789012345678),
        ("x" * 64 + ".7", "x" * 64, 7),
        ("e." + "9" * 18, "e", 10**18 - 1),
    ],
)
def test_a_cursor_is_read_and_written_alike(text: str, epoch: str, seq: int):
    assert Cursor.parse(text) == Cursor(epoch, seq)
    assert str(Cursor.parse(text)) == text


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        ".",
        "1",
        "e",
        "e.",
        ".1",
        "e.1.2",
        "e.-1",
        "e.+1",
        "e.01",
        "e.00",
        "e.1.0",
        "e.1e3",
        "e.0x1",
        "e. 1",
        " e.1",
        "e.1 ",
        "e.1\n",
        "e\n.1",
        "e e.1",
        "é.1",
        "e.\u0661",
        "e.\uff11",
        "e.1\x00",
        "x" * 65 + ".1",
        "e." + "9" * 19,
        "e.9223372036854775808",
        "e/../f.1",
        "e'--.1",
        "\ud800.1",
        None,
        0,
        1,
        1.5,
        True,
        b"e.1",
        ["e.1"],
        ("e", 1),
        {"epoch": "e", "seq": 1},
        Cursor("e", 1),
    ],
    ids=repr,
)
def test_what_no_server_gave_out_is_a_bad_cursor(malformed: object):
    with pytest.raises(BadCursor) as caught:
        Cursor.parse(malformed)
    assert caught.value.code == "bad_cursor"
    # Whoever sent it knows it; nobody else is to read it in an answer or a log.
    assert str(malformed) not in caught.value.message or str(malformed) in {"", ".", "e"}


def test_every_number_that_fits_a_cursor_fits_a_bigint():
    assert Cursor.parse("e." + "9" * 18).seq < 2**63


def test_cursors_of_two_lives_differ():
    assert Cursor.parse("e1.5") != Cursor.parse("e2.5")


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("tenant", "tenant:t1"),
        ("presence", "presence:t1"),
        ("user", "user:u1"),
        ("tenant:t1", "tenant:t1"),
        ("tenant:other", "tenant:other"),
        ("user:u2", "user:u2"),
        ("empresa:t1", "tenant:t1"),
        ("atendente:u2", "user:u2"),
        ("conversa:7", "conversation:7"),
        ("order:1", "order:1"),
        ("conversa:a:b", "conversation:a:b"),
        ("conversation:", "conversation:"),
        ("conversation", "conversation"),
    ],
)
def test_a_topic_is_spelled_as_the_log_names_it(given: str, spelled: str):
    assert full_topic(given, CLAIMS) == spelled


def test_close_codes_are_those_of_the_protocol():
    assert {int(code) for code in CloseCode} == {
        *(4100, 4101),
        *(4200, 4201, 4202, 4203, 4204, 4205),
        *(4300, 4301),
        *(4400, 4401),
        *(4500, 4501, 4503, 4504, 4505, 4506),
    }
