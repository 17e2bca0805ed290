"""How sockets end, as it is counted: of few values, whatever clients make up."""

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

from chatsync.gateway import close_codes


def server() -> Protocol:
    return Protocol(Side.SERVER)


def receive(conn: Protocol, code: int) -> None:
    frame = Frame(Opcode.CLOSE, Close(code, "").serialize())
    conn.receive_data(frame.serialize(mask=True))


@pytest.mark.parametrize(
    ("code", "label"),
    [(1000, "1000"), (1001, "1001"), (4100, "4100"), (3000, "other"), (4999, "other")],
)
def test_a_client_that_says_goodbye_is_counted_by_its_code(code: int, label: str):
    conn = server()
    receive(conn, code)
    assert close_codes.ending(conn) == ("client", label)


def test_a_socket_that_breaks_is_nobodys():
    conn = server()
    assert close_codes.ending(conn) == ("nobody", "1006")


def test_what_the_server_refused_is_the_servers():
    conn = server()
    conn.fail(1009)
    assert close_codes.ending(conn) == ("server", "1009")
    receive(conn, 1009)
    assert close_codes.ending(conn) == ("server", "1009")
