"""The tables derived again from a SQLite log, laid beside the live ones, and put in the place of what differs.

The log is read stream by stream and the live rows in the same order, so that one job is in memory at a time. Rows that
are the same need nothing more. The others are suspects: what they should be is kept in temporary tables, and judged
at one moment, since the live row may only be newer. Only that and putting in place need a transaction.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import apsw

from queuectl.store.base import Inspect
from queuectl.store.connection import MEMORY, translated
from queuectl.store.differences import SHOWN, Difference, Differences, contrast
from queuectl.store.examining import ExaminedLog
from queuectl.store.lives import Life, lives
from queuectl.store.projections import COUNT_KEYS, TABLES, VERSION, Row, Values
from queuectl.store.schema import SCHEMA
from queuectl.store.suspects import SUSPECT, SUSPECT_LIVE, LiveRows

__all__ = ["Shadow"]

BATCH = 500
NEAR = 500
"""So few events behind, the rest is folded while nothing moves."""

COUNTS = (*COUNT_KEYS, "jobs")
_OF_JOBS = [table for table, columns in TABLES.items() if columns[0] == "id"]
_KEYS = ", ".join(COUNT_KEYS)
_DIFFERING = "IN (SELECT key FROM temp.differing WHERE name = ?)"


class Shadow:
    """The rows that differ from those of one connection, or may, as they are at `position`."""

    def __init__(self, db: apsw.Connection, path: str, log: ExaminedLog) -> None:
        self._db, self._path, self._log = db, path, log
        self._unsound: dict[str, str] = {}
        self._counts_differ = False
        self.position = 0

    # ── folding ─────────────────────────────────────────────────────────────────────────────────────

    def fold(self, inspect: Inspect | None = None) -> None:
        """Fold the whole log as it is now, in pages and without a lock."""
        self._make()
        self._unsound = {table: why for table in (*TABLES, "counts") if (why := self._wrecked(table))}
        head = self._log.head().position
        live = {table: LiveRows(self._run, table, table not in self._unsound) for table in _OF_JOBS}
        self._put(lives(self._log.examined(until=head), inspect), live)
        for rows in live.values():
            rows.end()
        self._suspect_notes()
        self.position = head
        while self._log.head().position - self.position > NEAR:
            self.catch_up()

    def catch_up(self) -> None:
        """Fold again the streams that have grown since: all of them, when no one can write."""
        head = self._log.head().position
        for stream in self._grown(head):
            for table in _OF_JOBS:
                self._run(f"DELETE FROM temp.shadow_{table} WHERE id = ?", (stream,))
                self._run(SUSPECT, (table, stream))
            self._put(lives(self._log.examined(stream_id=stream, until=head)), {})
        self.position = head

    def _grown(self, head: int) -> list[str]:
        sql = "SELECT DISTINCT stream_id FROM events WHERE position > ? AND position <= ?"
        return [row[0] for row in self._run(sql, (self.position, head))]

    def _make(self) -> None:
        for table, columns in TABLES.items():
            self._run(f"CREATE TEMP TABLE shadow_{table} ({columns[0]} PRIMARY KEY, {', '.join(columns[1:])})")
        self._run("CREATE TEMP TABLE suspects (name, key, PRIMARY KEY (name, key)) WITHOUT ROWID")
        self._run("CREATE TEMP TABLE differing (name, key)")

    def _put(self, folded: Iterable[Life], live: dict[str, LiveRows]) -> None:
        """Keep the rows of streams in which they are not those that are live."""
        batch: dict[str, list[Values]] = {table: [] for table in TABLES}
        for life in folded:
            for table, values in life.rows().items():
                if table not in live or not live[table].has(values):
                    batch[table].append(values)
            for row in life.notes.values():
                self._forget(row)
                if row.values is not None:
                    batch[row.table].append(row.values)
            if len(batch["jobs"]) >= BATCH:
                self._flush(batch)
        self._flush(batch)

    def _forget(self, row: Row) -> None:
        self._run(f"DELETE FROM temp.shadow_{row.table} WHERE {TABLES[row.table][0]} = ?", (row.key,))
        self._run(SUSPECT, (row.table, row.key))

    def _flush(self, batch: dict[str, list[Values]]) -> None:
        with translated(self._path), self._db:
            for table, rows in batch.items():
                places = ", ".join("?" * len(TABLES[table]))
                self._db.executemany(f"INSERT OR REPLACE INTO temp.shadow_{table} VALUES ({places})", rows)
                self._db.executemany(SUSPECT, [(table, row[0]) for row in rows])
                rows.clear()

    def _suspect_notes(self) -> None:
        """The few rows that notes make: every live one is a suspect, so that one which no note made is found."""
        for table in TABLES.keys() - {*_OF_JOBS, *self._unsound}:
            self._run(f"{SUSPECT_LIVE.format(table, TABLES[table][0])} TRUE", (table,))

    # ── comparing ───────────────────────────────────────────────────────────────────────────────────

    def compare(self) -> Differences:
        """What differs from the live tables at one moment; `swap` puts just that right."""
        found = Differences()
        with self._reading():
            self.catch_up()
            for table in TABLES.keys() - self._unsound.keys():
                self._run(_differing(table), (table,))
            for table in (*TABLES, "counts"):
                if why := self._unsound.get(table):
                    found.add(Difference(table, None, why))
                elif table == "counts":
                    self._compare_counts(found)
                else:
                    self._name_rows(table, found)
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One moment: a read transaction, unless one is open already."""
        if self._db.in_transaction:
            yield
            return
        self._run("BEGIN")
        try:
            yield
        finally:
            self._run("ROLLBACK" if sys.exc_info()[1] else "COMMIT")

    def _name_rows(self, table: str, found: Differences) -> None:
        """Say of each row that differs how. No live text is read for it, because it may be none."""
        keys = self._run("SELECT rowid, CAST(key AS BLOB) FROM temp.differing WHERE name = ? ORDER BY 1", (table,))
        for row, name in keys:
            enough = len(found.first) == SHOWN
            found.add(Difference(table, name.decode(errors="replace"), "" if enough else self._contrast(table, row)))

    def _contrast(self, table: str, row: int) -> str:
        """How the row differs that is remembered at `row`."""
        columns = TABLES[table]
        both = ", ".join(f"{side}.{name}" for side in "sl" for name in columns)
        key = f"s.{columns[0]} = (SELECT key FROM temp.differing WHERE rowid = ?)"
        try:
            pairs = self._run(f"SELECT {both} FROM {_beside(table)} WHERE {key}", (row,))
        except UnicodeDecodeError:
            return "it holds bytes that are no text"
        if not pairs:
            return "the log has no such row"
        return contrast(columns, pairs[0][: len(columns)], pairs[0][len(columns) :])

    def _compare_counts(self, found: Differences) -> None:
        columns = ", ".join(("CAST(queue AS BLOB)", *COUNTS[1:]))
        live = f"SELECT {', '.join(COUNTS)} FROM main.counts"
        counted = f"SELECT {_KEYS}, count(*) AS jobs FROM ({self._jobs_of_the_log()}) GROUP BY {_KEYS}"
        for where, sql in (("log", f"{counted} EXCEPT {live}"), ("table", f"{live} EXCEPT {counted}")):
            for queue, *rest, jobs in self._run(f"SELECT {columns} FROM ({sql})"):
                self._counts_differ = True
                key = "/".join(map(str, (queue.decode(errors="replace"), *rest)))
                found.add(Difference("counts", key, f"{jobs} in the {where} alone"))

    def _jobs_of_the_log(self) -> str:
        """What is counted: the live jobs, those that differ as they should be."""
        if "jobs" in self._unsound:
            return f"SELECT {_KEYS} FROM temp.shadow_jobs"
        differing = "IN (SELECT key FROM temp.differing WHERE name = 'jobs')"
        return (
            f"SELECT {_KEYS} FROM main.jobs WHERE id NOT {differing}"
            f" UNION ALL SELECT {_KEYS} FROM temp.shadow_jobs WHERE id {differing}"
        )

    def _wrecked(self, table: str) -> str | None:
        """What is wrong with a table itself."""
        if _schema_of(self._db, table) != _fresh_schema()[table]:
            return "it is missing, or not made as it should be"
        found = str(self._run(f"PRAGMA main.integrity_check({table})")[0][0])
        return None if found == "ok" else f"it is damaged: {found.splitlines()[-1]}"

    # ── putting in place ────────────────────────────────────────────────────────────────────────────

    def swap(self) -> None:
        """Put what `compare` found right, under the log's lock: whole tables where they were wrecked, else rows."""
        self.catch_up()
        self._replace_rows()
        for table in sorted(self._unsound):
            self._remake(table)
        if self._counts_differ:
            self._run("DELETE FROM main.counts")
        if self._counts_differ or "counts" in self._unsound:
            self._run(f"INSERT INTO main.counts SELECT {_KEYS}, count(*) FROM main.jobs GROUP BY {_KEYS}")
        self._run("INSERT OR REPLACE INTO meta VALUES ('projection_version', ?)", (VERSION,))

    def _replace_rows(self) -> None:
        """All that is wrong goes before anything comes, so that no row is in the way of another."""
        sound = [table for table in TABLES if table not in self._unsound]
        chosen = {table: f"WHERE {TABLES[table][0]} {_DIFFERING}" for table in sound}
        for table in sound:
            self._run(f"DELETE FROM main.{table} {chosen[table]}", (table,))
        for table in sound:
            self._run(f"INSERT INTO main.{table} SELECT * FROM temp.shadow_{table} {chosen[table]}", (table,))

    def _remake(self, table: str) -> None:
        for kind in self._run("SELECT type FROM main.sqlite_schema WHERE name = ?", (table,)):
            self._run(f"DROP {kind[0]} main.{table}")
        for sql in _fresh_schema()[table].values():
            self._run(sql)
        if table in TABLES:
            self._run(f"INSERT INTO main.{table} SELECT * FROM temp.shadow_{table}")

    def close(self) -> None:
        """Drop the shadow tables."""
        for table in (*(f"shadow_{table}" for table in TABLES), "suspects", "differing"):
            self._run(f"DROP TABLE IF EXISTS temp.{table}")

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translated(self._path):
            return self._db.execute(sql, parameters).fetchall()


def _differing(table: str) -> str:
    """Remembers the suspects that are guilty."""
    key = TABLES[table][0]
    same = " AND ".join(f"s.{name} IS l.{name}" for name in TABLES[table])
    return (
        f"INSERT INTO temp.differing SELECT k.name, k.key FROM temp.suspects AS k"
        f" LEFT JOIN temp.shadow_{table} AS s ON s.{key} = k.key LEFT JOIN main.{table} AS l ON l.{key} = k.key"
        f" WHERE k.name = ? AND NOT ({same}) ORDER BY k.key"
    )


def _beside(table: str) -> str:
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
    return {table: _schema_of(db, table) for table in (*TABLES, "counts")}
