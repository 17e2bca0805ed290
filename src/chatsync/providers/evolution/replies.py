"""Messages with choices: what a business offers, and what a contact chose.

Each reader gives a text to show and the metadata: `subtype`, `replyValue` and `form`.
"""

from typing import TypeAlias

from chatsync.providers.body import BodyError, JsonObject, parse_json
from chatsync.providers.evolution.values import mapping, text

_Told: TypeAlias = tuple[str | None, JsonObject]


def chosen_row(body: JsonObject) -> _Told:
    shown = text(body.get("title")) or text(body.get("description"))
    row = mapping(body.get("singleSelectReply")).get("selectedRowId")
    return shown, _chosen("list_reply", row)


def pressed_button(body: JsonObject) -> _Told:
    shown = text(body.get("selectedDisplayText"))
    return shown, _chosen("button_reply", body.get("selectedButtonId"))


def quick_reply(body: JsonObject) -> _Told:
    shown = text(body.get("selectedDisplayText"))
    return shown, _chosen("quick_reply", body.get("selectedId"))


def form(body: JsonObject) -> _Told:
    """The answer to a flow. Its parameters are JSON within JSON, and may be neither."""
    said = mapping(body.get("nativeFlowResponseMessage"))
    written = said.get("paramsJson")
    answers = _decoded(written)
    metadata = _chosen("nfm_reply", answers.get("id"))
    if answers:
        metadata["form"] = answers
    elif text(written):
        metadata["formText"] = written
    return text(mapping(body.get("body")).get("text")) or text(said.get("name")), metadata


def offered_list(body: JsonObject) -> _Told:
    return _shown(body, "description", "title"), {"subtype": "list"}


def offered_buttons(body: JsonObject) -> _Told:
    return _shown(body, "contentText", "text"), {"subtype": "buttons"}


def offered_flow(body: JsonObject) -> _Told:
    shown = _shown(mapping(body.get("body")), "text") or _shown(
        mapping(body.get("header")), "title"
    )
    return shown, {"subtype": "interactive"}


def template(body: JsonObject) -> _Told:
    filled = mapping(body.get("hydratedTemplate")) or mapping(body.get("hydratedFourRowTemplate"))
    return _shown(filled, "hydratedContentText", "hydratedTitleText"), {}


def order(body: JsonObject) -> _Told:
    return _shown(body, "message", "orderTitle"), {}


def _chosen(subtype: str, value: object) -> JsonObject:
    chosen = text(value)
    return {"subtype": subtype} if chosen is None else {"subtype": subtype, "replyValue": chosen}


def _shown(body: JsonObject, *names: str) -> str | None:
    return next((found for name in names if (found := text(body.get(name)))), None)


def _decoded(value: object) -> JsonObject:
    if not isinstance(value, str):
        return mapping(value)
    try:
        return parse_json(value.encode(errors="replace"))
    except BodyError:
        return {}
