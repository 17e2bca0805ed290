"""Scenarios of tests/golden: their placeholders, filled in and matched. No sockets."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

from chatsync.model import Cursor

Node: TypeAlias = dict[str, Any]

FOLDER = Path(__file__).parent / "golden"
_CURSOR = re.compile(r"\$cursor:([a-z]+)(?:\+(\d+))?")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Mismatch(AssertionError):
    """The server said something else."""


def scenarios() -> list[Node]:
    return [json.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))]


@dataclass
class Values:
    """What the placeholders of one replay stand for. `token` makes one for a user."""

    tenant: str
    conversation: str
    token: Callable[[str], str]
    cursors: dict[str, Cursor] = field(default_factory=dict[str, Cursor])

    def fill(self, node: Any) -> Any:
        """What is to be sent."""
        match node:
            case dict():
                return {name: self.fill(each) for name, each in cast(Node, node).items()}
            case list():
                return [self.fill(each) for each in cast(list[Any], node)]
            case str() if node.startswith("$token:"):
                return self.token(node.removeprefix("$token:"))
            case str() if found := _CURSOR.fullmatch(node):
                return self._known(found)
            case str():
                return node.replace("{tenant}", self.tenant).replace(
                    "{conversation}", self.conversation
                )
            case _:
                return node

    def match(self, expected: Any, actual: Any, where: str = "") -> None:
        """Compare, and remember cursors that are met for the first time. Raises Mismatch."""
        match expected:
            case dict():
                self._match_object(cast(Node, expected), actual, where)
            case list():
                self._match_list(cast(list[Any], expected), actual, where)
            case str() if found := _CURSOR.fullmatch(expected):
                self._match_cursor(found, actual, where)
            case "$string":
                _require(isinstance(actual, str), where, expected, actual)
            case "$integer":
                is_integer = isinstance(actual, int) and not isinstance(actual, bool)
                _require(is_integer, where, expected, actual)
            case "$timestamp":
                is_time = isinstance(actual, str) and _TIMESTAMP.fullmatch(actual) is not None
                _require(is_time, where, expected, actual)
            case _:
                wanted = self.fill(expected)
                is_same = type(wanted) is type(actual) and wanted == actual
                _require(is_same, where, wanted, actual)

    def _match_object(self, expected: Node, actual: Any, where: str) -> None:
        _require(isinstance(actual, dict), where, expected, actual)
        for name, each in expected.items():
            if each == "$absent":
                _require(name not in actual, f"{where}.{name}", each, actual.get(name))
            else:
                _require(name in actual, f"{where}.{name}", each, "nothing")
                self.match(each, actual[name], f"{where}.{name}")

    def _match_list(self, expected: list[Any], actual: Any, where: str) -> None:
        is_as_long = isinstance(actual, list) and len(cast(list[Any], actual)) == len(expected)
        _require(is_as_long, where, expected, actual)
        for number, (each, found) in enumerate(zip(expected, actual, strict=True)):
            self.match(each, found, f"{where}[{number}]")

    def _match_cursor(self, found: re.Match[str], actual: Any, where: str) -> None:
        if found[2] is None and found[1] not in self.cursors:
            self.cursors[found[1]] = Cursor.parse(actual)
        _require(self._known(found) == actual, where, self._known(found), actual)

    def _known(self, found: re.Match[str]) -> str:
        cursor = self.cursors[found[1]]
        return str(Cursor(cursor.epoch, cursor.seq + int(found[2] or 0)))


def _require(is_met: bool, where: str, expected: object, actual: object) -> None:
    if not is_met:
        raise Mismatch(f"{where or 'the frame'}: expected {expected!r}, got {actual!r}")
