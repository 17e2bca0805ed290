"""docs/asyncapi.yaml, docs/openapi.yaml and their schemas, as tests ask them. No server.

A check is strict: what the server says and no schema names is an error, too.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, cast

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

Node: TypeAlias = dict[str, Any]

DOCS = Path(__file__).parents[1] / "docs"
_BASE = "http://contracts/"
# Below these a schema speaks of the same object again, and names only a part of its fields.
_PARTIAL = frozenset({"allOf", "anyOf", "oneOf", "if", "then", "else"})


def load(name: str) -> Node:
    """A document below docs/."""
    return cast(Node, yaml.safe_load((DOCS / name).read_text(encoding="utf-8")))


@cache
def asyncapi() -> Node:
    return load("asyncapi.yaml")


@cache
def openapi() -> Node:
    return load("openapi.yaml")


@cache
def frames() -> Node:
    return load("schemas/frames.yaml")["$defs"]


def check_frame(frame: Node, *, from_client: bool = False) -> None:
    """Compare a frame with its schema. Raises ValidationError."""
    _check(frame, f"schemas/frames.yaml#/$defs/{frame_name(frame['type'], from_client)}")


def check_event(event: Node) -> None:
    """Compare an event of the log with its schema and its type's. Raises ValidationError."""
    _check(event, "schemas/events.yaml#/$defs/event")


def frame_name(kind: str, from_client: bool) -> str:
    """The name of a frame's schema: both sides say ping and pong."""
    side = "client" if from_client else "server"
    return f"{side}{kind.capitalize()}" if kind in {"ping", "pong"} else kind


def check_answer(method: str, path: str, status: int, media: str, document: object) -> None:
    """Compare an answer's JSON with what openapi.yaml says of it. Raises ValidationError."""
    answers = openapi()["paths"][path][method.lower()]["responses"]
    assert str(status) in answers, f"{method} {path} does not document {status}"
    answer = _resolved(answers[str(status)])
    assert media in answer["content"], f"{method} {path} {status} does not document {media}"
    _check_schema(document, answer["content"][media]["schema"])


def headers(method: str, path: str, status: int) -> Node:
    """The headers that an answer is documented to have, by name."""
    answer = _resolved(openapi()["paths"][path][method.lower()]["responses"][str(status)])
    return {name: _resolved(header) for name, header in answer.get("headers", {}).items()}


def _resolved(node: Node) -> Node:
    while "$ref" in node:
        found: Any = openapi()
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def _check(document: object, reference: str) -> None:
    _check_schema(document, {"$ref": _BASE + reference})


def _check_schema(document: object, schema: Node) -> None:
    if "$ref" in schema:
        reference: str = schema["$ref"]
        if reference.startswith("#"):
            reference = f"openapi.yaml{reference}"
        schema = {"$ref": reference if "://" in reference else _BASE + reference}
    # What JSON cannot say is not to reach a client either.
    document = json.loads(json.dumps(document))
    Draft202012Validator(schema, registry=_registry()).validate(document)


@cache
def _registry() -> Registry[Any]:
    names = [f"schemas/{path.name}" for path in (DOCS / "schemas").glob("*.yaml")]
    return Registry[Any]().with_resources(
        (_BASE + name, Resource(_closed(load(name)), DRAFT202012))
        for name in [*names, "openapi.yaml"]
    )


def _closed(node: Any, *, is_partial: bool = False) -> Any:
    """Let objects have only the fields that they name, unless they say otherwise."""
    if isinstance(node, list):
        return [_closed(each, is_partial=is_partial) for each in cast(list[Any], node)]
    if not isinstance(node, dict):
        return node
    node = cast(Node, node)
    closed = {
        name: _closed(each, is_partial=is_partial or name in _PARTIAL)
        for name, each in node.items()
    }
    if "properties" in node and "type" in node and not is_partial:
        closed.setdefault("additionalProperties", False)
    return closed
