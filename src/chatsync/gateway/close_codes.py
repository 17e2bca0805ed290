"""What is counted of how sockets end: by whom, and with which close code, of a bounded many."""

from websockets.frames import CloseCode as Standard
from websockets.protocol import Protocol

from chatsync.model import CloseCode

# What a client may make up is one label, however many it makes up.
OTHER = "other"
_KNOWN = frozenset({
    Standard.NORMAL_CLOSURE,
    Standard.GOING_AWAY,
    Standard.PROTOCOL_ERROR,
    Standard.UNSUPPORTED_DATA,
    Standard.NO_STATUS_RCVD,
    Standard.INVALID_DATA,
    Standard.POLICY_VIOLATION,
    Standard.MESSAGE_TOO_BIG,
    Standard.INTERNAL_ERROR,
    Standard.SERVICE_RESTART,
    *CloseCode,
})  # fmt: skip


def ending(conn: Protocol) -> tuple[str, str]:
    """Who ended a socket that no session closed, `server`, `client` or `nobody`, and the code."""
    sent, received = conn.close_sent, conn.close_rcvd
    if received is not None and (sent is None or conn.close_rcvd_then_sent):
        return "client", _label(received.code)
    if sent is not None:
        return "server", _label(sent.code)
    return "nobody", str(int(Standard.ABNORMAL_CLOSURE))


def _label(code: int) -> str:
    return str(int(code)) if code in _KNOWN else OTHER
