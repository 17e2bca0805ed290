"""Rows as people and as programs read them: aligned columns, or JSON with RFC 3339 times.

Owns how a value looks. Never cuts what a program reads; what people read is one line a row.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast

import click

Row: TypeAlias = Mapping[str, Any]

CELL_LETTERS = 60  # A long error must not push the rest of a row out of a terminal.


def show(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool, nothing: str) -> None:
    """Print rows as one JSON array, or these columns of them; for none say `nothing`."""
    if as_json:
        click.echo(to_json(list(rows)))
    elif rows:
        click.echo("\n".join(table(rows, columns)))
    else:
        click.echo(nothing)


def table(rows: Iterable[Row], columns: Sequence[str]) -> list[str]:
    """Aligned lines with a heading; numbers stand at the right, and the last column is not cut."""
    rows = list(rows)
    cells = [
        [_cell(name, row[name], is_last=name == columns[-1]) for name in columns] for row in rows
    ]
    heads = [name.replace("_", " ").upper() for name in columns]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    is_right = [all(_is_number(row[name]) for row in rows) for name in columns]
    return [_line(line, widths, is_right) for line in (heads, *cells)]


def to_json(value: object) -> str:
    """One line of JSON; times in RFC 3339, durations in seconds."""
    return json.dumps(_plain(value), ensure_ascii=False)


def _line(cells: Sequence[str], widths: Sequence[int], is_right: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, is_right, strict=True)
    )
    return "  ".join(padded).rstrip()


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(name: str, value: object, is_last: bool) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            # An id is copied from here into the next command.
            return str(value) if name.endswith("id") else f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case timedelta():
            return _duration(value.total_seconds())
        case Mapping():
            text = _pairs(cast(Row, value))
        case _:
            text = str(_plain(value))
    # No control character may reach a terminal: errors and payloads come from outside.
    text = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return text if is_last or len(text) <= CELL_LETTERS else text[: CELL_LETTERS - 1] + "…"


def _pairs(value: Row) -> str:
    """What is known of it, as name=value; a string is quoted where it has spaces."""
    known = ((name, each) for name, each in value.items() if each not in (None, {}, []))
    return " ".join(
        f"{name}={each if isinstance(each, str) and ' ' not in each else to_json(each)}"
        for name, each in known
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours:02} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s"


def _plain(value: object) -> Any:
    match value:
        case datetime():
            moment = value.astimezone(UTC).isoformat(timespec="milliseconds")
            return moment.replace("+00:00", "Z")
        case timedelta():
            return round(value.total_seconds(), 3)
        case bytes():
            return value.decode(errors="backslashreplace")
        case Mapping():
            return {name: _plain(each) for name, each in cast(Row, value).items()}
        case list() | tuple():
            return [_plain(each) for each in cast(Sequence[object], value)]
        case str() | int() | float() | None:
            return value
        case _:
            return str(value)
