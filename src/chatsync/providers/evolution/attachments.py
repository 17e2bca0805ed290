"""What comes with a message: media, places, cards of contacts. Only what is there is named.

A reader answers None for a body without what its type promises.
"""

import base64
from collections.abc import Sequence
from typing import cast

from chatsync.providers.body import JsonObject
from chatsync.providers.evolution.values import flag, link, mapping, number, text


def media(body: JsonObject, media_url: object) -> JsonObject:
    """The description of a medium.

    What WhatsApp's own `url` leads to is encrypted, so the copy that Evolution stored goes first.
    """
    return _present(
        mime=text(body.get("mimetype")),
        sha256=_digest(body.get("fileSha256")),
        url=link(media_url) or link(body.get("mediaUrl")) or link(body.get("url")),
        filename=text(body.get("fileName")) or text(body.get("title")),
        size=number(body.get("fileLength")),
        seconds=number(body.get("seconds")),
        voice=flag(body.get("ptt")),
        animated=flag(body.get("isAnimated")),
    )


def location(body: JsonObject) -> tuple[str | None, JsonObject] | None:
    place = _present(
        latitude=_degrees(body.get("degreesLatitude"), 90),
        longitude=_degrees(body.get("degreesLongitude"), 180),
        name=text(body.get("name")),
        address=text(body.get("address")),
        url=link(body.get("url")),
    )
    if "latitude" not in place or "longitude" not in place:
        return None
    return text(body.get("caption")) or text(body.get("comment")), {"location": place}


def contact(body: JsonObject) -> tuple[str | None, JsonObject] | None:
    return _cards([body])


def contacts(body: JsonObject) -> tuple[str | None, JsonObject] | None:
    cards = body.get("contacts")
    return _cards(cast(list[object], cards) if isinstance(cards, list) else [])


def _cards(bodies: Sequence[object]) -> tuple[str | None, JsonObject] | None:
    cards = [card for body in bodies if any((card := _card(mapping(body))).values())]
    return (None, {"cards": cards}) if cards else None


def _card(body: JsonObject) -> JsonObject:
    """The name and numbers of a vCard (RFC 6350, of which phones write a small part)."""
    name = text(body.get("displayName"))
    phones: list[str] = []
    written = (text(body.get("vcard")) or "").replace("\r\n", "\n")
    # A line that begins with a space continues the one before (RFC 6350, 3.2).
    for line in written.replace("\n ", "").replace("\n\t", "").split("\n"):
        head, _, value = line.partition(":")
        attribute, *parameters = head.split(";")
        value = value.strip()
        match attribute.rpartition(".")[2].upper():
            case "FN":
                name = name or _unescaped(value) or None
            case "TEL":
                phone = value or _waid(parameters)
                if phone and phone not in phones:
                    phones.append(phone)
            case _:
                pass
    return {"name": name, "phones": phones}


def _waid(parameters: list[str]) -> str | None:
    named = (parameter.partition("=") for parameter in parameters)
    return next((value for name, _, value in named if name.lower() == "waid"), None)


def _unescaped(value: str) -> str:
    return value.replace("\\,", ",").replace("\\;", ";").replace("\\\\", "\\")


def _degrees(value: object, limit: int) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if -limit <= value <= limit else None


def _digest(value: object) -> str | None:
    """A hash in base64. Some versions write its bytes one by one: {"0": 194, "1": …}."""
    if isinstance(value, dict):
        said = cast(JsonObject, value)
        listed = said.get("data")
        value = cast(object, listed) if isinstance(listed, list) else list(said.values())
    if isinstance(value, list):
        try:
            octets = bytes(cast(list[int], value))
        except (TypeError, ValueError):
            return None
        return base64.b64encode(octets).decode() if len(octets) == 32 else None
    return text(value)


def _present(**values: object) -> JsonObject:
    return {name: value for name, value in values.items() if value is not None}
