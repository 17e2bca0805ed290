"""The signature of a webhook: HMAC-SHA256 with the app secret over the raw body.

Must never see a body that was decoded and encoded again: Meta escapes characters that a second
encoding would not.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable

_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})", re.ASCII)


def signature_fits(header: str | None, body: bytes, secrets: Iterable[str]) -> bool:
    """Check `X-Hub-Signature-256` over the raw body against any of the app secrets."""
    match = _SIGNATURE.fullmatch(header) if header else None
    if match is None:
        return False
    given = bytes.fromhex(match[1])
    fits = [
        hmac.compare_digest(given, hmac.digest(secret.encode(), body, hashlib.sha256))
        for secret in secrets
    ]
    return any(fits)


def sign(body: bytes, secret: str) -> str:
    """The header value that Meta would send; for simulators and tests."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
