"""JSON from outside, by RFC 8259: UTF-8, no NaN and no Infinity, however they are spelled."""

import json
import math


def loads(text: str | bytes) -> object:
    """Decode a value. Raises ValueError, also for what is nested too deep to be decoded."""
    if isinstance(text, bytes):
        # Python's decoder would guess UTF-16 and UTF-32 and pass halves of surrogate pairs.
        text = text.decode("utf-8-sig")
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _refuse(name: str) -> object:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


# Made once: it costs as much as decoding a short webhook.
_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
