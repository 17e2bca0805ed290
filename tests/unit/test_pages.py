"""What a session is given at once."""

from chatsync.gateway.pages import PAGE_EVENTS, SOCKET_BYTES, STREAM_BYTES, cut
from chatsync.model import Event


def events(count: int, size: int) -> list[Event]:
    return [Event(number, frozenset(), b"x" * size) for number in range(count)]


def test_a_page_holds_no_more_than_its_transport_may_hold() -> None:
    assert len(cut(events(PAGE_EVENTS + 1, 1), SOCKET_BYTES)) == PAGE_EVENTS
    assert len(cut(events(10, SOCKET_BYTES // 4), SOCKET_BYTES)) == 4
    assert len(cut(events(10, SOCKET_BYTES // 4), STREAM_BYTES)) == 10
    assert len(cut(events(30, SOCKET_BYTES // 4), STREAM_BYTES)) == 16


def test_an_event_that_is_larger_than_a_page_is_a_page() -> None:
    assert len(cut(events(3, SOCKET_BYTES * 2), SOCKET_BYTES)) == 1
    assert len(cut(events(1, SOCKET_BYTES * 2), SOCKET_BYTES)) == 1


def test_of_nothing_there_is_no_page() -> None:
    assert cut([], SOCKET_BYTES) == []
