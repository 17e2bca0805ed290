"""Plans of the statements inside functions, with the names of parameters and variables kept.

auto_explain is for superusers; so a statement is copied from its function without `into`, compared
with it, and explained in the role and with the settings that run it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, LiteralString, cast

from psycopg import sql

from conftest import SyncConnection
from sql.queue_calls import value


@dataclass(frozen=True)
class Statement:
    """A statement of a function, or all of a function when `text` is empty.

    `arguments` maps parameters and variables to a type and a value as SQL.
    """

    function: str
    index: str
    arguments: dict[str, tuple[str, str]]
    text: str = ""
    role: str = "chatsync_worker"


def plan(connection: SyncConnection, statement: Statement, mode: str) -> list[dict[str, Any]]:
    """The nodes of the plan; `mode` says whether it knows the values."""
    source, settings = _function(connection, statement.function)
    assert _plain(statement.text) in _plain(source), f"{statement.function}() reads differently now"
    text = statement.text or source
    for number, name in enumerate(statement.arguments, start=1):
        text = re.sub(rf"(?<![\w.]){re.escape(name)}\b", f"${number}", text)
    types = _listed(kind for kind, _ in statement.arguments.values())
    values = _listed(given for _, given in statement.arguments.values())
    with connection.transaction(force_rollback=True):
        connection.execute(f"set local role {statement.role}".encode())
        connection.execute(f"set local plan_cache_mode = 'force_{mode}_plan'".encode())
        connection.execute("set local chatsync.tenants = 't1'")
        for setting in settings:
            name, _, setting_value = setting.partition("=")
            if name.startswith("enable_"):
                connection.execute("select set_config(%s, %s, true)", [name, setting_value])
        connection.execute(f"prepare planned {types} as {text}".encode())
        # A prepared statement outlives its transaction.
        try:
            explained = value(
                connection,
                sql.SQL("explain (format json) execute planned {}").format(
                    sql.SQL(cast(LiteralString, values))
                ),
            )
        finally:
            connection.execute("deallocate planned")
    return list(_nodes(explained[0]["Plan"]))


def _function(connection: SyncConnection, name: str) -> tuple[str, list[str]]:
    """The body of a function, and what it sets."""
    row = connection.execute(
        "select prosrc, coalesce(proconfig, '{}') from pg_proc"
        " where pronamespace = 'chatsync'::regnamespace and proname = %s",
        [name],
    ).fetchone()
    assert row is not None, f"there is no {name}()"
    return cast(tuple[str, list[str]], row)


def indexes(nodes: list[dict[str, Any]]) -> set[str]:
    return {node["Index Name"] for node in nodes if "Index Name" in node}


def large_tables_scanned(connection: SyncConnection, nodes: list[dict[str, Any]]) -> set[str]:
    """Tables that are read from end to end and hold more than a page or two."""
    scanned = [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"]
    rows = connection.execute(
        "select relname from pg_class where relnamespace = 'chatsync'::regnamespace"
        " and relname = any (%s) and relpages > 2",
        [scanned],
    )
    return {str(row[0]) for row in rows}


def _listed(words: Iterable[str]) -> str:
    """In parentheses, which SQL does not want to see empty."""
    text = ", ".join(words)
    return f"({text})" if text else ""


def _plain(text: str) -> str:
    return " ".join(re.sub(r"\binto v_\w+(, v_\w+)*", "", text).split())


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
