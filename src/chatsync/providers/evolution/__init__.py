"""Evolution API v2: who sent a delivery, and what is in it. Pure functions, no I/O.

Facts from the source and documentation of EvolutionAPI/evolution-api 2.3.x and from deliveries of
1.x to 2.3.7. Nothing is signed: everything in `data` is hostile input. `date_time` is local time
printed with a Z and must never be used as a clock.
"""

from chatsync.providers.evolution.credentials import redacted, secret, secret_fits
from chatsync.providers.evolution.delivery import NAME, event_name, instance, is_meaningless, parse

__all__ = [
    "NAME",
    "event_name",
    "instance",
    "is_meaningless",
    "parse",
    "redacted",
    "secret",
    "secret_fits",
]
