"""The shared secret of a delivery: where it may stand, whether it fits, and how it is removed.

Must never let a key of Evolution's, an instance's or the global one, into anything stored.
"""

import hmac
from collections.abc import Iterable, Mapping

from chatsync.providers.body import JsonObject

# The error webhook carries the global key of the whole server in `api_key`.
_KEYS = ("apikey", "api_key")


def secret(delivery: JsonObject, headers: Mapping[str, str]) -> list[str]:
    """The secrets that a delivery offers. `headers` are looked up by lower-case names."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    candidates = (
        headers.get("apikey"),
        *(delivery.get(key) for key in _KEYS),
        token.strip() if scheme.lower() == "bearer" else None,
    )
    return [candidate for candidate in candidates if isinstance(candidate, str) and candidate]


def secret_fits(candidates: Iterable[str], known: Iterable[str]) -> bool:
    """Say whether any offered secret is a known one, in a time that does not tell which."""
    # compare_digest refuses text that is not ASCII; a body may even hold half a surrogate pair.
    offered = [candidate.encode(errors="surrogatepass") for candidate in candidates if candidate]
    secrets = [each.encode(errors="surrogatepass") for each in known if each]
    fits = [hmac.compare_digest(one, other) for one in offered for other in secrets]
    return any(fits)


def redacted(delivery: JsonObject) -> JsonObject:
    """The delivery without its keys; the same object where it has none."""
    found = dict.fromkeys(key for key in _KEYS if delivery.get(key) is not None)
    return {**delivery, **found} if found else delivery
