"""SQL takes values only by binding; nothing is unpickled, and SQLite loads no code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import queuectl
from queuectl.runtime import SystemClock
from queuectl.store import open_store

HOUSE = Path(queuectl.__file__).parent
PIPES = HOUSE / "parallel.py"
"""Frames between a process and the children that it started: only they hold the ends of these pipes."""
SQL = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|REPLACE INTO|PRAGMA|CREATE|DROP|ALTER|ATTACH|VACUUM|SET|WHERE|FROM)\b"
    r"(?!\.\.)"  # as in FROM..TO, which names a part of the time
)
OF_THE_SCHEMA = {
    *("table", "_table", "tables", "column", "columns", "name", "names", "key", "keys", "places", "wanted", "row", "i"),
    *(
        "select",
        "where",
        "clause",
        "order",
        "tie",
        "sql",
        "both",
        "same",
        "log",
        "live",
        "differing",
        "kept",
        "previous",
        "before",
    ),
    *("schema", "kind", "chosen", "rows", "limit", "synchronous", "link", "_link", "second_lock", "_number", "codec"),
    *("self", "format", "join", "map", "len", "_jobs_column", "_unique_columns", "_both", "_pairs"),
    *("_jobs_of_the_log", "pid", "first", "marks", "itself"),
    *("places", "part", "_jobs", "_purged"),
}
"""Names that may be put into the text of a statement: tables, columns, conditions with `?`, and numbers of ours
(a server's `pid` is in advice, which is not run; of a `part` only the length is used). Check each new word: values are
bound, not interpolated."""


def written(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that is interpolated into the text of a statement, with its line."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        text = "".join(str(each.value) for each in node.values if isinstance(each, ast.Constant))
        if SQL.search(text):
            for each in node.values:
                if isinstance(each, ast.FormattedValue):
                    yield from ((node.lineno, name) for name in _names(each.value))


def _names(expression: ast.expr) -> Iterator[str]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def values_in(source: str) -> list[tuple[int, str]]:
    """The interpolated names that are not constants, types or words of the schema."""
    return [
        (line, name)
        for line, name in written(ast.parse(source))
        if name not in OF_THE_SCHEMA and not name.lstrip("_")[:1].isupper()
    ]


def test_no_value_is_written_into_sql() -> None:
    files = sorted((HOUSE / "store").rglob("*.py"))
    found = {path.name: values_in(path.read_text(encoding="utf-8")) for path in files}
    assert {name: values for name, values in found.items() if values} == {}
    assert sum(len(list(written(ast.parse(path.read_text(encoding="utf-8"))))) for path in files) > 50


def test_a_value_in_sql_would_be_noticed() -> None:
    assert values_in("db.execute(f\"SELECT * FROM jobs WHERE id = '{job_id}'\")") == [(1, "job_id")]
    assert values_in('f"UPDATE {table} SET x = {job.spec.command}"') == [(1, "command"), (1, "spec"), (1, "job")]


def test_only_the_store_has_sql() -> None:
    elsewhere = [path for path in HOUSE.rglob("*.py") if not path.is_relative_to(HOUSE / "store")]
    assert [path.name for path in elsewhere if list(written(ast.parse(path.read_text(encoding="utf-8"))))] == []


def test_nothing_is_unpickled_or_evaluated() -> None:
    forbidden = re.compile(r"\b(pickle|marshal|shelve|dill|eval|exec|load_extension|loadextension)\b\(?")
    for path in set(HOUSE.rglob("*.py")) - {PIPES}:
        names = set(_names_of(ast.parse(path.read_text(encoding="utf-8"))))
        assert not {name for name in names if forbidden.fullmatch(name)}, path


def _names_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Call):
            yield node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def test_sqlite_loads_no_code_and_changes_no_schema(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "queue.db"), SystemClock())
    try:
        db: apsw.Connection = store.engine.db  # type: ignore[attr-defined]
        assert db.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, -1) == 0
        assert db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, -1) == 1
        assert db.pragma("trusted_schema") == 0
        with pytest.raises(apsw.SQLError, match="not authorized"):
            db.execute("SELECT load_extension('anything')").fetchall()
    finally:
        store.close()
