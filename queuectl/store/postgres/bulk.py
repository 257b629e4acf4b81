"""One statement for many rows: the server starts it once, not for each row, and gets the rows as one JSON array."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

__all__ = ["MANY", "in_bulk", "table_of_insert"]

MANY = 50
"""Rows from which on this is worth a statement of its own."""
PART = 1000
"""Rows of one statement."""

_PAIR = r"(\w+) = \?"
_PAIRS = r"\w+ = \?(?:(?:, | AND )\w+ = \?)*"
_ROWS = "json_populate_recordset(CAST(NULL AS {}), CAST($1 AS json)) AS new"


@cache
def table_of_insert(sql: str) -> str | None:
    """The table into which a statement inserts whole rows and does nothing else."""
    found = re.fullmatch(r"INSERT INTO (\w+) VALUES \([?, ]+\)", sql)
    return found[1] if found else None


def in_bulk(sql: str, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, Sequence[Sequence[Any]]]]:
    """The statements that do for all rows what `sql` does for each, with their parameters; none for other forms of SQL.

    No two rows may be about the same row of the table.
    """
    if (form := _form(sql)) is None:
        return
    import json  # not msgspec, which would encode bytes as base64: no column that changes holds any

    text, names = form
    for start in range(0, len(rows), PART):
        part = [dict(zip(names, row, strict=True)) for row in rows[start : start + PART]]
        yield text, [(json.dumps(part),)]


@cache
def _form(sql: str) -> tuple[str, list[str]] | None:
    """The statement for the rows of a JSON array, and the names of their values in order."""
    return _insertion(sql) or _change(sql)


def _insertion(sql: str) -> tuple[str, list[str]] | None:
    found = re.fullmatch(r"INSERT INTO (\w+) \(([\w, ]+)\) VALUES \([?, ]+\)( ON CONFLICT DO NOTHING)?", sql)
    if found is None:
        return None
    table, names, clause = found.groups(default="")
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM {_ROWS.format(table)}{clause}", names.split(", ")


def _change(sql: str) -> tuple[str, list[str]] | None:
    names = re.findall(_PAIR, sql)
    found = re.fullmatch(rf"(?:UPDATE (\w+) SET ({_PAIRS})|DELETE FROM (\w+)) WHERE ({_PAIRS})", sql)
    if found is None or len({*names}) < len(names):
        return None
    updated, changes, deleted, where = found.groups()
    table = updated or deleted
    rows, same = _ROWS.format(table), re.sub(_PAIR, r"old.\1 = new.\1", where)
    if deleted:
        return f"DELETE FROM {table} AS old USING {rows} WHERE {same}", names
    columns = re.sub(_PAIR, r"\1 = new.\1", changes)
    return f"UPDATE {table} AS old SET {columns} FROM {rows} WHERE {same}", names
