"""Temporary tables for a rebuild on SQLite, which hold only the rows that may differ: the suspects.

The live rows are read in the order of the log's streams, next to the rows derived from it, so that one job is in
memory at a time. Equal rows need nothing more. All others are suspects: their derived rows are stored, and judged at
one moment, since a live row may only be newer.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import apsw

from queuectl.store.projections import TABLES, VERSION, Values
from queuectl.store.sql.rebuild import KEYS, MADE, OF_JOBS, contrast
from queuectl.store.sql.schema import SCHEMA
from queuectl.store.sqlite.connection import MEMORY, translated

__all__ = ["SqliteShadowTables"]


PAGE = 1000

_SUSPECT = "INSERT OR IGNORE INTO temp.suspects VALUES (?, ?)"
_SUSPECT_LIVE = "INSERT OR IGNORE INTO temp.suspects SELECT ?, {1} FROM main.{0} WHERE"


class SqliteShadowTables:
    """Implements `sql.rebuild.ShadowTables` on one connection."""

    def __init__(self, db: apsw.Connection, path: str) -> None:
        self._db, self._path = db, path
        self._unsound: frozenset[str] = frozenset()
        self._live: dict[str, LiveRows] = {}

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows. Raises UnicodeDecodeError for bytes that are not text."""
        with translated(self._path):
            return self._db.execute(sql, parameters).fetchall()

    # ── folding ─────────────────────────────────────────────────────────────────────────────────────

    def make(self) -> None:
        """Create the temporary tables, empty."""
        for table, columns in TABLES.items():
            self.run(f"CREATE TEMP TABLE shadow_{table} ({columns[0]} PRIMARY KEY, {', '.join(columns[1:])})")
        self.run("CREATE TEMP TABLE suspects (name, key, PRIMARY KEY (name, key)) WITHOUT ROWID")
        self.run("CREATE TEMP TABLE differing (name, key)")

    @contextmanager
    def along_live_rows(self, unsound: Iterable[str]) -> Iterator[None]:
        """Read the live rows of jobs while the whole log is folded; none of `unsound` tables."""
        self._unsound = frozenset(unsound)
        self._live = {table: LiveRows(self.run, table, table not in self._unsound) for table in OF_JOBS}
        yield
        for rows in self._live.values():
            rows.end()
        self._live = {}
        self._suspect_notes()

    def is_wanted(self, table: str, values: Values) -> bool:
        """Whether a derived row has to be stored: not if the very same row is live."""
        return table not in self._live or not self._live[table].has(values)

    def remove(self, table: str, key: str) -> None:
        """Delete a derived row, because its stream has grown; the live row is a suspect."""
        self.run(f"DELETE FROM shadow_{table} WHERE {TABLES[table][0]} = ?", (key,))
        self.run(_SUSPECT, (table, key))

    def store(self, batch: dict[str, list[Values]]) -> None:
        """Write derived rows, by table, into `shadow_…`, and empty the lists."""
        with translated(self._path), self._db:
            for table, rows in batch.items():
                places = ", ".join("?" * len(TABLES[table]))
                self._db.executemany(f"INSERT OR REPLACE INTO temp.shadow_{table} VALUES ({places})", rows)
                self._db.executemany(_SUSPECT, [(table, row[0]) for row in rows])
                rows.clear()

    def _suspect_notes(self) -> None:
        """Make all live rows of notes suspects (they are few), so that a row that no note made is found."""
        for table in TABLES.keys() - {*OF_JOBS, *self._unsound}:
            self.run(f"{_SUSPECT_LIVE.format(table, TABLES[table][0])} TRUE", (table,))

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
        """The rows that differ: rowid in `differing`, and key. Reads no live text, because it may not be text."""
        self.run(_guilty(table), (table,))
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
            return "it holds bytes that are no text"
        if not pairs:
            return "the log has no such row"
        return contrast(columns, pairs[0][: len(columns)], pairs[0][len(columns) :])

    def differing_counts(self) -> Iterator[tuple[Any, ...]]:
        """`log` or `table`, then the key and the number of a row of `counts` that only that side has."""
        live = f"SELECT {KEYS}, jobs FROM main.counts"
        counted = f"SELECT {KEYS}, count(*) AS jobs FROM ({self._jobs_of_the_log()}) GROUP BY {KEYS}"
        for where, sql in (("log", f"{counted} EXCEPT {live}"), ("table", f"{live} EXCEPT {counted}")):
            for row in self.run(sql):
                yield where, *row

    def _jobs_of_the_log(self) -> str:
        """Selects the jobs to count: the live rows, and the derived rows in place of those that differ."""
        if "jobs" in self._unsound:
            return f"SELECT {KEYS} FROM temp.shadow_jobs"
        differing = "IN (SELECT key FROM temp.differing WHERE name = 'jobs')"
        return (
            f"SELECT {KEYS} FROM main.jobs WHERE id NOT {differing}"
            f" UNION ALL SELECT {KEYS} FROM temp.shadow_jobs WHERE id {differing}"
        )

    def unsound(self, table: str) -> str | None:
        """Why a live table as a whole is unusable; None when it is sound."""
        if _schema_of(self._db, table) != _fresh_schema()[table]:
            return "it is missing, or not made as it should be"
        found = str(self.run(f"PRAGMA main.integrity_check({table})")[0][0])
        if found != "ok":
            return f"it is damaged: {found.splitlines()[-1]}"
        try:
            if table not in TABLES:  # their differences are reported row by row
                self.run(f"SELECT * FROM main.{table}")
        except UnicodeDecodeError:
            return "it holds bytes that are no text"
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
        for table in (*(f"shadow_{table}" for table in TABLES), "suspects", "differing"):
            self.run(f"DROP TABLE IF EXISTS temp.{table}")


class LiveRows:
    """The live rows of a table of jobs in the order of their keys, to be compared with the rows derived from the log.

    Every row that is not found equal becomes a suspect, so nothing depends on the two orders being the same.
    """

    def __init__(self, run: Callable[[str, Sequence[Any]], list[Values]], table: str, sound: bool) -> None:
        self._run, self._table = run, table
        self._rows = self._read() if sound else iter(())
        self._row = next(self._rows, None)

    def has(self, values: Values) -> bool:
        """Whether a derived row is live, just as it is."""
        if self._row == values:
            self._row = next(self._rows, None)
            return True
        while self._row is not None and self._row[0] < values[0]:
            self._suspect()
        if self._row == values:
            self._row = next(self._rows, None)
            return True
        return False

    def end(self) -> None:
        """Make the rows that are left suspects: no stream made them."""
        while self._row is not None:
            self._suspect()

    def _suspect(self) -> None:
        assert self._row is not None
        self._run(_SUSPECT, (self._table, self._row[0]))
        self._row = next(self._rows, None)

    def _read(self) -> Iterator[Values]:
        """In pages, like the log. A row that cannot be read as text and all rows after it are suspects."""
        columns = TABLES[self._table]
        key, select = columns[0], f"SELECT {', '.join(columns)} FROM main.{self._table}"
        where, after = f"{key} >= ?", ""
        try:
            while page := self._run(f"{select} WHERE {where} ORDER BY {key} LIMIT {PAGE}", (after,)):
                yield from page
                where, after = f"{key} > ?", page[-1][0]
        except UnicodeDecodeError:
            self._run(f"{_SUSPECT_LIVE.format(self._table, key)} {where}", (self._table, after))


def _guilty(table: str) -> str:
    """The statement that records the suspects that differ."""
    key = TABLES[table][0]
    same = " AND ".join(f"s.{name} IS l.{name}" for name in TABLES[table])
    return (
        f"INSERT INTO temp.differing SELECT k.name, k.key FROM temp.suspects AS k"
        f" LEFT JOIN temp.shadow_{table} AS s ON s.{key} = k.key LEFT JOIN main.{table} AS l ON l.{key} = k.key"
        f" WHERE k.name = ? AND NOT ({same}) ORDER BY k.key"
    )


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
