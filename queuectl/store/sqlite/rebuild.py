"""Temporary tables for a rebuild on SQLite, which hold only the rows that may differ.

The live rows may hold bytes that are not text, so keys are read as bytes.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import apsw

from queuectl.store.projections import TABLES, VERSION, Values
from queuectl.store.sql.engine import SQLITE
from queuectl.store.sql.rebuild import MADE, contrast
from queuectl.store.sql.schema import SCHEMA
from queuectl.store.sqlite.connection import MEMORY, scanning, translated

__all__ = ["SqliteShadowTables"]


class SqliteShadowTables:
    """Implements `sql.rebuild.ShadowTables` on one connection."""

    dialect = SQLITE

    def __init__(self, db: apsw.Connection, path: str) -> None:
        self._db, self._path = db, path
        self._scan = ExitStack()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows. Raises UnicodeDecodeError for bytes that are not text."""
        with translated(self._path):
            return self._db.execute(sql, parameters).fetchall()

    # ── folding ─────────────────────────────────────────────────────────────────────────────────────

    def make(self) -> None:
        """Create the temporary tables, empty."""
        self._scan.enter_context(scanning(self._db))
        for table, columns in TABLES.items():
            self.run(f"CREATE TEMP TABLE shadow_{table} ({columns[0]} PRIMARY KEY, {', '.join(columns[1:])})")
        self.run("CREATE TEMP TABLE suspects (name, key)")
        self.run("CREATE TEMP TABLE differing (name, key)")

    def store(self, rows: Mapping[str, Sequence[Values]], suspects: Sequence[tuple[str, bytes]]) -> None:
        """Write derived rows, by table, into `shadow_…`, and their keys and the other suspects into `suspects`."""
        with translated(self._path), self._db:
            for table, found in rows.items():
                places = ", ".join("?" * len(TABLES[table]))
                self._db.executemany(f"INSERT OR REPLACE INTO temp.shadow_{table} VALUES ({places})", found)
                self._db.executemany("INSERT INTO temp.suspects VALUES (?, ?)", [(table, row[0]) for row in found])
            self._db.executemany("INSERT INTO temp.suspects VALUES (?, CAST(? AS TEXT))", suspects)

    # ── comparing ───────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A read transaction, unless one is open already."""
        if self._db.in_transaction:
            yield
            return
        self.run("BEGIN")
        try:
            yield
        finally:
            self.run("ROLLBACK" if sys.exc_info()[1] else "COMMIT")

    def differing(self, table: str) -> Iterator[tuple[int, str]]:
        """The rows in `differing`: rowid and key. Reads no live text, because it may not be text."""
        keys = "SELECT rowid, CAST(key AS BLOB) FROM temp.differing WHERE name = ? ORDER BY 1"
        return ((row, name.decode(errors="replace")) for row, name in self.run(keys, (table,)))

    def contrast(self, table: str, row: int) -> str:
        """How a row differs; `row` is its rowid in `differing`."""
        columns = TABLES[table]
        both = ", ".join(f"{side}.{name}" for side in "sl" for name in columns)
        where = f"s.{columns[0]} = (SELECT key FROM temp.differing WHERE rowid = ?)"
        try:
            pairs = self.run(f"SELECT {both} FROM {_pairs(table)} WHERE {where}", (row,))
        except UnicodeDecodeError:
            return "it contains bytes that are not text"
        if not pairs:
            return "the log has no such row"
        return contrast(columns, pairs[0][: len(columns)], pairs[0][len(columns) :])

    def unsound(self, table: str) -> str | None:
        """Why a live table as a whole is unusable; None when it is sound."""
        if _schema_of(self._db, table) != _fresh_schema()[table]:
            return "it is missing, or not made as it should be"
        found = str(self.run(f"PRAGMA main.integrity_check({table})")[0][0])
        if found != "ok":
            return f"it is damaged: {found.splitlines()[-1]}"
        try:
            if table not in TABLES:  # their differences are reported row by row
                for _ in self._db.execute(f"SELECT * FROM main.{table}"):
                    pass  # no more rows than one are in memory
        except UnicodeDecodeError:
            return "it contains bytes that are not text"
        return None

    # ── putting in place ────────────────────────────────────────────────────────────────────────────

    def remake(self, table: str) -> None:
        """Create a live table again, empty and with the right schema."""
        for kind in self.run("SELECT type FROM main.sqlite_schema WHERE name = ?", (table,)):
            self.run(f"DROP {kind[0]} main.{table}")
        for sql in _fresh_schema()[table].values():
            self.run(sql)

    def note_version(self) -> None:
        """Record that this version of queuectl has derived the tables."""
        self.run("INSERT OR REPLACE INTO meta VALUES ('projection_version', ?)", (VERSION,))

    def close(self) -> None:
        """Drop the temporary tables."""
        self._scan.close()
        for table in (*(f"shadow_{table}" for table in TABLES), "suspects", "differing"):
            self.run(f"DROP TABLE IF EXISTS temp.{table}")


def _pairs(table: str) -> str:
    key = TABLES[table][0]
    return f"temp.shadow_{table} AS s LEFT JOIN main.{table} AS l ON l.{key} = s.{key}"


def _schema_of(db: apsw.Connection, table: str) -> dict[str, str]:
    """The statements that made a table and its indices, by name, the table's own first."""
    sql = "SELECT name, sql FROM main.sqlite_schema WHERE tbl_name = ? AND sql IS NOT NULL ORDER BY type DESC, name"
    return {str(name): str(made) for name, made in db.execute(sql, (table,))}


@cache
def _fresh_schema() -> dict[str, dict[str, str]]:
    db = apsw.Connection(MEMORY)
    db.execute(SCHEMA)
    return {table: _schema_of(db, table) for table in MADE}
