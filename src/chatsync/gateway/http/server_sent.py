"""Frames of protocol §3 as Server-Sent Events (WHATWG HTML, "Server-sent events"). No I/O.

A frame's JSON has no line breaks, so that it is one `data:` line. `id:` is the position that a
frame tells; a frame that tells none leaves the client's as it is.
"""

import re

# What a stream may say (protocol §5): it has no requests to answer, and no token to refresh.
_POSITION_FIELDS = {
    b"connected": b"cursor",
    b"events": b"to",
    b"ephemeral": None,
    b"ping": b"cursor",
    b"reset": b"cursor",
    b"closing": None,
}
_TYPE = re.compile(rb'\{"type":"(\w+)"')


def retry(milliseconds: int) -> bytes:
    """How long a client waits before it comes back by itself."""
    return b"retry: %d\n\n" % milliseconds


def encode(frame: bytes) -> bytes:
    """A frame as one event; nothing where a stream has no use for it."""
    found = _TYPE.match(frame)
    assert found is not None
    kind = found[1]
    if kind not in _POSITION_FIELDS:
        return b""
    return b"event: %s\n%sdata: %s\n\n" % (kind, _id(frame, _POSITION_FIELDS[kind]), frame)


def _id(frame: bytes, field: bytes | None) -> bytes:
    if field is None:
        return b""
    start = frame.index(b'"%s":"' % field) + len(field) + 4
    return b"id: %s\n" % frame[start : frame.index(b'"', start)]
