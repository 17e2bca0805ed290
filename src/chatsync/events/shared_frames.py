"""Frames of a tenant that several sessions want alike: encoded once, written many times.

Kept until the tenant's next event, since many may catch up from many positions. Bounded in bytes.
"""

# Some pages of the largest size; a tenant may be quiet for days with what is kept.
KEPT_BYTES = 1024 * 1024
# What a frame costs besides its text: its key names the numbers of its events.
FRAME_BYTES = 4096


class SharedFrames(dict[object, bytes]):
    """By what they say; the newest is always kept."""

    def __init__(self) -> None:
        super().__init__()
        self.held_bytes = 0

    def __setitem__(self, key: object, frame: bytes) -> None:
        size_bytes = len(frame) + FRAME_BYTES
        if self.held_bytes + size_bytes > KEPT_BYTES:
            self.clear()
        self.held_bytes += size_bytes
        super().__setitem__(key, frame)

    def clear(self) -> None:
        super().clear()
        self.held_bytes = 0
