"""The frames a server writes, encoded for the wire: once for all who get the same.

permessage-deflate (RFC 7692) without context takeover, so that one compressed frame suits every
client and no client costs memory for a window between its messages.
"""

import zlib
from collections.abc import Sequence

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)

# 4 KiB of window: events of one kind follow each other closely, and a larger one costs every reader
# more memory.
WINDOW_BITS = 12
# Below this the headers of deflate eat what it saves.
COMPRESSED_FROM_BYTES = 256
_SYNC_FLUSH_TAIL = 4

NEGOTIATION = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=WINDOW_BITS,
)


def is_usable(extensions: Sequence[Extension]) -> bool:
    """Whether a client understands what we compress: it asked, and for no smaller window."""
    return any(
        isinstance(extension, PerMessageDeflate) and extension.local_max_window_bits >= WINDOW_BITS
        for extension in extensions
    )


def text_frame(payload: bytes, *, is_compressed: bool = False) -> bytes:
    """A server's unmasked text frame (RFC 6455 §5.2)."""
    first = b"\xc1" if is_compressed else b"\x81"
    size = len(payload)
    if size < 126:
        return b"%b%c%b" % (first, size, payload)
    if size < 65_536:
        return b"%b\x7e%b%b" % (first, size.to_bytes(2, "big"), payload)
    return b"%b\x7f%b%b" % (first, size.to_bytes(8, "big"), payload)


class ServerFrame:
    """A text frame in its two forms; the compressed one is made when first asked for."""

    __slots__ = ("_compressed", "_payload", "plain")

    def __init__(self, payload: bytes) -> None:
        self.plain = text_frame(payload)
        self._payload = payload
        self._compressed: bytes | None = None

    @property
    def compressed(self) -> bytes:
        if self._compressed is None:
            self._compressed = self._compress()
        return self._compressed

    def _compress(self) -> bytes:
        if len(self._payload) < COMPRESSED_FROM_BYTES:
            return self.plain
        compressor = zlib.compressobj(wbits=-WINDOW_BITS)
        deflated = compressor.compress(self._payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return text_frame(deflated[:-_SYNC_FLUSH_TAIL], is_compressed=True)


class ServerFrames:
    """The frames of late, by their payload."""

    # Sessions of one moment want a handful of different frames; each may hold a page of events.
    _KEPT = 16

    def __init__(self) -> None:
        self._frames: dict[bytes, ServerFrame] = {}

    def of(self, payload: bytes) -> ServerFrame:
        frame = self._frames.get(payload)
        if frame is None:
            if len(self._frames) >= self._KEPT:
                self._frames.clear()
            frame = self._frames[payload] = ServerFrame(payload)
        return frame
