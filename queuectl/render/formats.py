"""The formats in which reading commands print for programs: a JSON document, JSON lines, CSV, one name a line."""

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from queuectl.render.terminal import clean, to_json, to_ndjson

__all__ = ["FORMATS", "FOR_PEOPLE", "formatted"]

FOR_PEOPLE = ("table", "wide")
FORMATS = (*FOR_PEOPLE, "json", "ndjson", "csv", "name")


def formatted(form: str, document: object, rows: Sequence[Mapping[str, Any]], name: str) -> Iterator[str]:
    """The lines of an answer in one of the formats for programs.

    `json` prints the document, the others its rows; `name` prints that column of each row, where it has one.
    """
    if form == "json":
        yield to_json(document)
    elif form == "ndjson":
        yield from map(to_ndjson, rows)
    elif form == "name":
        yield from (clean(str(row[name]), newlines=False) for row in rows if row.get(name) is not None)
    elif rows:
        columns = list(dict.fromkeys(column for row in rows for column in row))
        yield _csv_line(columns)
        yield from (_csv_line([_csv_cell(row.get(column)) for column in columns]) for row in rows)


def _csv_cell(value: object) -> str:
    """Nothing for null, JSON for what has parts; no cell can steer a terminal."""
    if value is None:
        return ""
    if isinstance(value, bool | dict | list | tuple):
        return to_ndjson(value)
    return clean(str(value))


def _csv_line(cells: Sequence[str]) -> str:
    import csv

    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)  # quotes what holds one
    return line.getvalue().removesuffix("\n")
