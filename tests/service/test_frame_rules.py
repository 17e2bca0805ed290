"""The frame rules of RFC 6455, as the groups 1 to 7, 9 and 10 of the Autobahn test suite ask."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from service.echo_server import FRAME_BYTES, echo_server
from service.raw_socket import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    RawSocket,
    Received,
    close,
    frame,
    open_socket,
)

pytestmark = pytest.mark.usefixtures("clean_logs")

UNICODE = "Hello-µ@ßöäüàá-UTF-8!!".encode()


@dataclass(frozen=True)
class Case:
    """What a client sends, what comes back before the end, and with which code that comes."""

    sent: bytes
    answers: tuple[tuple[int, bytes], ...] = ()
    code: int | None = 1000


def echoed(payload: bytes) -> Case:
    return Case(frame(TEXT, payload) + close(1000), ((TEXT, payload),))


def broken(*sent: bytes, code: int = 1002) -> Case:
    """Breaks a rule after a message that is still echoed; what follows is not looked at."""
    before = frame(TEXT, b"before")
    return Case(before + b"".join(sent) + frame(TEXT, b"behind"), ((TEXT, b"before"),), code)


def pings(*payloads: bytes) -> Case:
    sent = b"".join(frame(PING, payload) for payload in payloads)
    return Case(sent + close(1000), tuple((PONG, payload) for payload in payloads))


def fragments(*parts: bytes, opcode: int = TEXT, between: bytes = b"") -> bytes:
    """A message in fragments, with frames between them."""
    frames = [
        frame(opcode if index == 0 else CONT, part, fin=index == len(parts) - 1)
        for index, part in enumerate(parts)
    ]
    return between.join(frames)


def sizes(*counts: int) -> dict[str, Case]:
    return {f"1.1 text of {count} bytes": echoed(b"*" * count) for count in counts}


CASES: dict[str, Case] = {
    # 1: framing
    **sizes(0, 1, 125, 126, 127, 128, 65_535, FRAME_BYTES),
    "1.2 binary": Case(frame(BINARY, b"\xfe" * 127) + close(1000), ((TEXT, b"binary"),)),
    # 2: pings and pongs
    "2.1 ping without payload": pings(b""),
    "2.2 ping with payload": pings(b"Hello, world!"),
    "2.3 ping with binary payload": pings(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
    "2.4 ping of 125 bytes": pings(b"\xfe" * 125),
    "2.5 ping of 126 bytes": broken(frame(PING, b"\xfe" * 126)),
    "2.7 unsolicited pong": Case(frame(PONG) + close(1000)),
    "2.8 unsolicited pong with payload": Case(frame(PONG, b"x") + close(1000)),
    "2.9 pong, then ping": Case(
        frame(PONG, b"x") + frame(PING, b"y") + close(1000), ((PONG, b"y"),)
    ),
    "2.10 ten pings": pings(*(b"ping %d" % number for number in range(10))),
    # 3: reserved bits
    **{f"3.{rsv} reserved bits {rsv}": broken(frame(TEXT, b"x", rsv=rsv)) for rsv in range(1, 8)},
    "3.8 reserved bits of a ping": broken(frame(PING, b"x", rsv=5)),
    "3.9 reserved bits of a close": broken(frame(CLOSE, b"", rsv=7)),
    # 4: opcodes
    **{
        f"4 reserved opcode {opcode}": broken(frame(opcode, payload))
        for opcode in (*range(3, 8), *range(11, 16))
        for payload in (b"",)
    },
    "4 reserved opcode with payload": broken(frame(5, b"x")),
    # 5: fragments
    "5.1 fragmented ping": broken(frame(PING, b"x", fin=False), frame(CONT, b"y")),
    "5.2 fragmented pong": broken(frame(PONG, b"x", fin=False), frame(CONT, b"y")),
    "5.3 two fragments": Case(fragments(b"frag", b"ment") + close(1000), ((TEXT, b"fragment"),)),
    "5.6 ping between fragments": Case(
        fragments(b"frag", b"ment", between=frame(PING, b"p")) + close(1000),
        ((PONG, b"p"), (TEXT, b"fragment")),
    ),
    "5.9 continuation of nothing": broken(frame(CONT, b"x")),
    "5.10 unfinished continuation of nothing": broken(frame(CONT, b"x", fin=False)),
    "5.15 continuation after the end": broken(frame(CONT, b"x", fin=False), frame(TEXT, b"y")),
    "5.18 new text in a message": broken(frame(TEXT, b"a", fin=False), frame(TEXT, b"b")),
    "5.18 new binary in a message": broken(frame(TEXT, b"a", fin=False), frame(BINARY, b"b")),
    "5.19 five fragments, two pings": Case(
        fragments(b"1", b"2", b"3", between=frame(PING, b"p"))[:-7]
        + frame(CONT, b"3", fin=False)
        + frame(CONT, b"4", fin=False)
        + frame(CONT, b"5")
        + close(1000),
        ((PONG, b"p"), (PONG, b"p"), (TEXT, b"12345")),
    ),
    "5 close in a message": broken(frame(TEXT, b"a", fin=False), close(1000)),
    # 6: UTF-8
    "6.1 empty text": echoed(b""),
    "6.1 three empty fragments": Case(fragments(b"", b"", b"") + close(1000), ((TEXT, b""),)),
    "6.1 text between empty fragments": Case(
        fragments(b"", b"mid", b"") + close(1000), ((TEXT, b"mid"),)
    ),
    "6.2 Unicode": echoed(UNICODE),
    "6.2 split in code points": Case(
        fragments(*(UNICODE[i : i + 1] for i in range(len(UNICODE)))) + close(1000),
        ((TEXT, UNICODE),),
    ),
    "6.3 not UTF-8": broken(frame(TEXT, b"\xce\xba\xed\xa0\x80edited"), code=1007),
    "6.3 not UTF-8 across fragments": broken(
        fragments(b"\xce\xba\xe1\xbd", b"\xed\xa0\x80edited"), code=1007
    ),
    "6.5 the highest code point": echoed(b"\xf4\x8f\xbf\xbf"),
    "6.6 beyond it": broken(frame(TEXT, b"\xf4\x90\x80\x80"), code=1007),
    "6.8 half a code point": broken(frame(TEXT, b"\xce\xba\xce"), code=1007),
    "6.10 five bytes": broken(frame(TEXT, b"\xf8\x88\x80\x80\x80"), code=1007),
    "6.14 continuation bytes alone": broken(frame(TEXT, b"\x80\xbf"), code=1007),
    "6.18 overlong slash": broken(frame(TEXT, b"\xc0\xaf"), code=1007),
    "6.21 surrogate": broken(frame(TEXT, b"\xed\xb0\x80"), code=1007),
    "6.22 no character": echoed(b"\xef\xbf\xbe"),
    "6.23 replacement": echoed(b"\xef\xbf\xbd"),
    # 7: closing
    "7.1 close, then text": Case(close(1000) + frame(TEXT, b"late")),
    "7.1 close, then ping": Case(close(1000) + frame(PING, b"late")),
    "7.1 close twice": Case(close(1000) + close(1000)),
    "7.1 text, then close": echoed(b"*" * 65_000),
    "7.3 close without code": Case(frame(CLOSE), (), 1005),
    "7.3 close of one byte": broken(frame(CLOSE, b"a")),
    "7.3 close with the longest reason": Case(close(1000, b"*" * 123)),
    "7.3 close with too long a reason": broken(close(1000, b"*" * 124)),
    "7.5 reason that is not UTF-8": broken(close(1000, b"\xce\xba\xed\xa0\x80"), code=1007),
    **{
        f"7.7 code {code}": Case(close(code), (), code)
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    },
    **{
        f"7.9 code {code}": broken(close(code))
        for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
    # 9, 10: sizes, and how frames are cut
    "9.1 the longest message": echoed(b"*" * FRAME_BYTES),
    "9.1 one byte more": broken(frame(TEXT, b"*" * (FRAME_BYTES + 1)), code=1009),
    "9.1 one byte more in two fragments": broken(
        fragments(b"*" * FRAME_BYTES, b"*"), code=1009
    ),
    "9.1 said to be 16 EiB": broken(frame(TEXT, b"", length=2**63 - 1), code=1009),
    "9.1 longer than a length may be": broken(frame(TEXT, b"", length=2**64 - 1), code=1009),
    "9.3 in fragments of 64 bytes": Case(
        fragments(*[b"*" * 64] * (FRAME_BYTES // 64)) + close(1000),
        ((TEXT, b"*" * FRAME_BYTES),),
    ),
    "10 not masked": broken(frame(TEXT, b"x", masked=False)),
}  # fmt: skip


@pytest.fixture(scope="module")
async def address() -> AsyncGenerator[str]:
    async with echo_server() as running:
        yield running


async def _plays(socket: RawSocket, case: Case) -> None:
    found = await socket.rest()
    *answers, last = found
    assert [(answer.opcode, answer.payload) for answer in answers] == list(case.answers)
    assert (last.opcode, last.code) == (CLOSE, case.code)


@pytest.mark.parametrize("name", CASES)
async def test_frames_are_answered_as_the_rule_says(address: str, name: str) -> None:
    async with open_socket(address) as socket:
        await socket.send(CASES[name].sent)
        await _plays(socket, CASES[name])


SHORT = [name for name, case in CASES.items() if len(case.sent) < 2_000]


@pytest.mark.parametrize("name", SHORT)
async def test_frames_are_answered_alike_byte_by_byte(address: str, name: str) -> None:
    async with open_socket(address) as socket:
        for byte in CASES[name].sent:
            await socket.send(bytes([byte]))
        await _plays(socket, CASES[name])


async def test_a_socket_that_is_cut_in_a_frame_ends_quietly(address: str) -> None:
    async with open_socket(address) as socket:
        await socket.send(frame(TEXT, b"cut")[:-1])
        socket.writer.write_eof()
        assert await socket.rest() == []
    async with open_socket(address) as socket:
        await socket.send(frame(TEXT, b"next"))
        assert await socket.next() == Received(TEXT, b"next")
