"""What there is to know of a queue that is measured: its program, its settings, its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Settings = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class System:
    """One queue. `left` tells whether messages are left, `purge` forgets them; both are SQL."""

    name: str
    program: Sequence[str]
    packages: Sequence[str]
    settings: Settings
    # How it keeps the order of a key; None where it has no such mode.
    per_key: str | None = None
    keyed_settings: Settings = field(default_factory=dict[str, int])
    left: str = ""
    purge: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    has_redis: bool = False

    def settings_for(self, keys: int) -> Settings:
        return {**self.settings, **(self.keyed_settings if keys else {})}
