"""The tables derived again from a SQLite log.

The live rows are read in the order of the log's streams, so that one job is in memory at a time. Rows that are the same
need nothing more. The others are suspects: what they should be is kept in temporary tables, and judged at one moment,
since the live row may only be newer.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import apsw

from queuectl.store.projections import TABLES, VERSION, Values
from queuectl.store.sql.log_reader import ExaminedLog
from queuectl.store.sql.schema import SCHEMA
from queuectl.store.sql.shadow import KEYS, MADE, OF_JOBS, Shadow
from queuectl.store.sqlite.connection import MEMORY, translated
from queuectl.store.sqlite.suspects import SUSPECT, SUSPECT_LIVE, LiveRows
from queuectl.store.table_diff import contrast

__all__ = ["SqliteShadow"]


class SqliteShadow(Shadow):
    """The rows that differ from those of one connection, or may."""

    def __init__(self, db: apsw.Connection, path: str, log: ExaminedLog) -> None:
        super().__init__(log)
        self._db, self._path = db, path
        self._live: dict[str, LiveRows] = {}

    # ── folding ─────────────────────────────────────────────────────────────────────────────────────

    def _make(self) -> None:
        for table, columns in TABLES.items():
            self._run(f"CREATE TEMP TABLE shadow_{table} ({columns[0]} PRIMARY KEY, {', '.join(columns[1:])})")
        self._run("CREATE TEMP TABLE suspects (name, key, PRIMARY KEY (name, key)) WITHOUT ROWID")
        self._run("CREATE TEMP TABLE differing (name, key)")

    @contextmanager
    def _next_to_live_rows(self) -> Iterator[None]:
        self._live = {table: LiveRows(self._run, table, table not in self._unsound) for table in OF_JOBS}
        yield
        for rows in self._live.values():
            rows.end()
        self._live = {}
        self._suspect_notes()

    def _is_wanted(self, table: str, values: Values) -> bool:
        return table not in self._live or not self._live[table].has(values)

    def _forget(self, table: str, key: str) -> None:
        super()._forget(table, key)
        self._run(SUSPECT, (table, key))

    def _flush(self, batch: dict[str, list[Values]]) -> None:
        with translated(self._path), self._db:
            for table, rows in batch.items():
                places = ", ".join("?" * len(TABLES[table]))
                self._db.executemany(f"INSERT OR REPLACE INTO temp.shadow_{table} VALUES ({places})", rows)
                self._db.executemany(SUSPECT, [(table, row[0]) for row in rows])
                rows.clear()

    def _suspect_notes(self) -> None:
        """The few rows that notes make: every live one is a suspect, so that one which no note made is found."""
        for table in TABLES.keys() - {*OF_JOBS, *self._unsound}:
            self._run(f"{SUSPECT_LIVE.format(table, TABLES[table][0])} TRUE", (table,))

    # ── comparing ───────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _reading(self) -> Iterator[None]:
        if self._db.in_transaction:
            yield
            return
        self._run("BEGIN")
        try:
            yield
        finally:
            self._run("ROLLBACK" if sys.exc_info()[1] else "COMMIT")

    def _differing(self, table: str) -> Iterator[tuple[int, str]]:
        """No live text is read for it, because it may be none."""
        self._run(_guilty(table), (table,))
        keys = "SELECT rowid, CAST(key AS BLOB) FROM temp.differing WHERE name = ? ORDER BY 1"
        return ((row, name.decode(errors="replace")) for row, name in self._run(keys, (table,)))

    def _contrast(self, table: str, key: int) -> str:
        """By the place where the row is remembered."""
        columns = TABLES[table]
        both = ", ".join(f"{side}.{name}" for side in "sl" for name in columns)
        where = f"s.{columns[0]} = (SELECT key FROM temp.differing WHERE rowid = ?)"
        try:
            pairs = self._run(f"SELECT {both} FROM {_pairs(table)} WHERE {where}", (key,))
        except UnicodeDecodeError:
            return "it holds bytes that are no text"
        if not pairs:
            return "the log has no such row"
        return contrast(columns, pairs[0][: len(columns)], pairs[0][len(columns) :])

    def _differing_counts(self) -> Iterator[tuple[Any, ...]]:
        live = f"SELECT {KEYS}, jobs FROM main.counts"
        counted = f"SELECT {KEYS}, count(*) AS jobs FROM ({self._jobs_of_the_log()}) GROUP BY {KEYS}"
        for where, sql in (("log", f"{counted} EXCEPT {live}"), ("table", f"{live} EXCEPT {counted}")):
            for row in self._run(sql):
                yield where, *row

    def _jobs_of_the_log(self) -> str:
        """What is counted: the live jobs, those that differ as they should be."""
        if "jobs" in self._unsound:
            return f"SELECT {KEYS} FROM temp.shadow_jobs"
        differing = "IN (SELECT key FROM temp.differing WHERE name = 'jobs')"
        return (
            f"SELECT {KEYS} FROM main.jobs WHERE id NOT {differing}"
            f" UNION ALL SELECT {KEYS} FROM temp.shadow_jobs WHERE id {differing}"
        )

    def _wrecked(self, table: str) -> str | None:
        if _schema_of(self._db, table) != _fresh_schema()[table]:
            return "it is missing, or not made as it should be"
        found = str(self._run(f"PRAGMA main.integrity_check({table})")[0][0])
        if found != "ok":
            return f"it is damaged: {found.splitlines()[-1]}"
        try:
            if table not in TABLES:  # their differences are reported row by row
                self._run(f"SELECT * FROM main.{table}")
        except UnicodeDecodeError:
            return "it holds bytes that are no text"
        return None

    # ── putting in place ────────────────────────────────────────────────────────────────────────────

    def _remake(self, table: str) -> None:
        for kind in self._run("SELECT type FROM main.sqlite_schema WHERE name = ?", (table,)):
            self._run(f"DROP {kind[0]} main.{table}")
        for sql in _fresh_schema()[table].values():
            self._run(sql)

    def _are_of_this_version(self) -> None:
        self._run("INSERT OR REPLACE INTO meta VALUES ('projection_version', ?)", (VERSION,))

    def close(self) -> None:
        """Drop the temporary tables."""
        for table in (*(f"shadow_{table}" for table in TABLES), "suspects", "differing"):
            self._run(f"DROP TABLE IF EXISTS temp.{table}")

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translated(self._path):
            return self._db.execute(sql, parameters).fetchall()


def _guilty(table: str) -> str:
    """Remembers the suspects that are guilty."""
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
