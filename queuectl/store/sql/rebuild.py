"""Derives the tables again from the log, compares them with the live ones, and corrects the rows that differ.

The log is folded stream by stream, in pages and without a lock, perhaps by several processes. Derived rows that are not
found equal to the live ones go into temporary tables of this connection. Only the final comparison and the correction
need a transaction.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from queuectl.store.projections import COUNT_KEYS, TABLES, WAITS, CountKey, Values, count_key
from queuectl.store.protocol import Derive
from queuectl.store.rows import FIRST_FORMAT, SHOWN, Derived, Difference, Differences
from queuectl.store.sql.causes import Causes, waiting_rows
from queuectl.store.sql.derived import OF_JOBS
from queuectl.store.sql.engine import Dialect
from queuectl.store.sql.job_tags import tags_of
from queuectl.store.sql.log import Log
from queuectl.store.sql.waits import INSERT_WAITS
from queuectl.store.sql.writer import Writer
from queuectl.store.stream_fold import Stream, streams

__all__ = ["MADE", "Rebuild", "ShadowTables", "contrast"]

NEAR = 500
"""The last so many events are folded under the log's lock."""

MADE = (*TABLES, "counts", "waits", "job_tags", "workers")
"""The tables that can be derived again. The workers' table is only checked for being readable: heartbeats return."""
KEYS = ", ".join(COUNT_KEYS)
_WAITING = "SELECT id, after, if_unmet FROM {jobs} AS waiting WHERE waiting = 1"
_DIFFERING = "IN (SELECT key FROM differing WHERE name = ?)"


class ShadowTables(Protocol):
    """An engine's temporary tables.

    `shadow_…` holds derived rows that the live tables may not have, `suspects` their keys and those of live rows that
    no stream may have made, `differing` the keys of the suspects that do differ.
    """

    dialect: Dialect

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""

    def make(self) -> None:
        """Create the temporary tables, empty."""

    def unsound(self, table: str) -> str | None:
        """Why a live table as a whole is unusable; None when it is sound."""

    def store(self, rows: Mapping[str, Sequence[Values]], suspects: Sequence[tuple[str, bytes]]) -> None:
        """Write derived rows, by table, into `shadow_…`, and their keys and the other suspects into `suspects`."""

    def reading(self) -> AbstractContextManager[None]:
        """A read transaction, unless one is open already."""

    def differing(self, table: str) -> Iterator[tuple[Any, str]]:
        """The rows in `differing`, each as the argument for `contrast` and its key."""

    def contrast(self, table: str, row: Any) -> str:
        """How a row differs."""

    def remake(self, table: str) -> None:
        """Create a live table again, empty and with the right schema."""

    def note_version(self) -> None:
        """Record that this version of queuectl has derived the tables."""

    def close(self) -> None:
        """Drop the temporary tables."""


class Rebuild:
    """One comparison or rebuild of the tables of a store."""

    def __init__(self, log: Log, writer: Writer, shadow: ShadowTables) -> None:
        self._log, self._writer, self._shadow = log, writer, shadow
        self._unsound: dict[str, str] = {}
        self._counts_differ = self._waits_differ = self._tags_differ = False
        self._counts: Counter[CountKey] = Counter()
        self._position, self._format = 0, FIRST_FORMAT

    def compare(self, derive: Derive) -> Differences:
        """Compare the tables with the log at one moment."""
        with self._folded(derive):
            return self._compared()

    def run(self, derive: Derive) -> Differences:
        """Compare, and correct what differs."""
        with self._folded(derive):
            found = self._compared()
            with self._writer.transaction(rebuilding=True):
                self._swap()
            return found

    # ── folding ─────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _folded(self, derive: Derive) -> Iterator[None]:
        """Fold the whole log into the temporary tables, which are dropped in the end."""
        shadow = self._shadow
        try:
            shadow.make()
            self._unsound = {table: why for table in MADE if (why := shadow.unsound(table))}
            head = self._log.head().position
            for batch in derive(head, self._unsound):
                self._store(batch)
            self._suspect_notes()
            self._position = head
            while self._log.head().position - self._position > NEAR:
                self._catch_up()
            yield
        finally:
            shadow.close()

    def _catch_up(self) -> None:
        """Fold the streams that have grown since; if nobody can write, this folds all of them."""
        head = self._log.head().position
        sql = "SELECT DISTINCT stream_id FROM events WHERE position > ? AND position <= ?"
        for (stream_id,) in self._shadow.run(sql, (self._position, head)):
            for table in OF_JOBS:
                self._remove(table, stream_id)
            for stream in self._streams(stream_id, self._position):
                self._counts.subtract(_counted(stream))
            for stream in self._streams(stream_id, head):
                rows = {table: [values] for table, values in stream.rows().items()}
                notes = [*stream.notes.values()]
                self._store(Derived(rows, notes=notes, format=stream.format, counts=_counted(stream)))
        self._position = head

    def _streams(self, stream_id: str, until: int) -> Iterator[Stream]:
        return streams(self._log.examined(stream_id=stream_id, until=until))

    def _store(self, batch: Derived) -> None:
        self._counts.update(batch.counts)
        self._format = max(self._format, batch.format)
        rows = dict(batch.rows)
        for row in batch.notes:
            self._remove(row.table, row.key)
            rows[row.table] = [*rows.get(row.table, ()), *([] if row.values is None else [row.values])]
        self._shadow.store(rows, batch.suspects)

    def _remove(self, table: str, key: str) -> None:
        """Delete a derived row, because its stream has grown; the live row is a suspect."""
        self._shadow.run(f"DELETE FROM shadow_{table} WHERE {TABLES[table][0]} = ?", (key,))
        self._shadow.run("INSERT INTO suspects VALUES (?, ?)", (table, key))

    def _suspect_notes(self) -> None:
        """Make all live rows of notes suspects (they are few), so that a row that no note made is found."""
        for table in TABLES.keys() - {*OF_JOBS, *self._unsound}:
            self._shadow.run(f"INSERT INTO suspects SELECT ?, {TABLES[table][0]} FROM {table}", (table,))

    # ── comparing ───────────────────────────────────────────────────────────────────────────────────

    def _compared(self) -> Differences:
        found = Differences()
        with self._shadow.reading():
            self._catch_up()
            if (form := self._log.format()) < self._format:
                found.add(Difference("meta", "format", f"{form}, but the log has events of format {self._format}"))
            for table in MADE:
                if why := self._unsound.get(table):
                    found.add(Difference(table, None, why))
                elif table == "counts":
                    self._compare_counts(found)
                elif table == "waits":
                    self._compare_waits(found)
                elif table == "job_tags":
                    self._compare_tags(found)
                elif table in TABLES:
                    self._compare_rows(table, found)
        return found

    def _compare_rows(self, table: str, found: Differences) -> None:
        self._judge(table)
        for row, key in self._shadow.differing(table):
            why = self._shadow.contrast(table, row) if len(found.first) < SHOWN else ""
            found.add(Difference(table, key, why))

    def _compare_counts(self, found: Differences) -> None:
        made = {(*key, jobs) for key, jobs in self._counts.items() if jobs}
        live = set(self._shadow.run(f"SELECT {KEYS}, jobs FROM counts"))
        self._counts_differ = made != live
        for where, rows in (("log", made - live), ("table", live - made)):
            for *key, jobs in sorted(rows):
                found.add(Difference("counts", "/".join(map(str, key)), f"{jobs} in the {where} alone"))

    def _compare_waits(self, found: Differences) -> None:
        """The rows of `waits` follow from the jobs that wait and from those that they wait for."""
        jobs = self._of_the_log("jobs", "id, state, batch, after, if_unmet, waiting")
        causes = Causes(self._shadow.run, self._log, jobs, self._of_the_log("purged", "batch, state"))
        made = set(waiting_rows(causes, self._shadow.run(_WAITING.format(jobs=jobs))))
        live = set(self._shadow.run(f"SELECT {', '.join(WAITS)} FROM waits"))
        self._waits_differ = made != live
        for where, rows in (("log", made - live), ("table", live - made)):
            for job_id, number, *_, standing, _ in sorted(rows, key=str):
                found.add(Difference("waits", f"{job_id}/{number}", f"{standing} in the {where} alone"))
        if live and self._log.is_known_quiet():
            found.add(Difference("meta", "reactive", "0, but jobs wait for others"))

    def _compare_tags(self, found: Differences) -> None:
        """The rows of `job_tags` follow from the tags of the jobs."""
        live = "SELECT name, value, position FROM job_tags"
        made = tags_of(self._shadow.dialect, self._of_the_log("jobs", "position, tags"))
        sides = [("log", f"{made} EXCEPT {live}")]
        if self._shadow.run(f"{live} LIMIT 1"):
            sides.append(("table", f"{live} EXCEPT {made}"))
        for where, sql in sides:
            for name, value, position in self._shadow.run(f"{sql} ORDER BY 3, 1, 2"):
                self._tags_differ = True
                found.add(Difference("job_tags", f"{position}/{name}", f"{_short(value)} in the {where} alone"))

    def _of_the_log(self, table: str, columns: str) -> str:
        """Selects these columns of the rows that follow from the log: live ones, and derived ones where they differ."""
        if table in self._unsound:
            return f"(SELECT {columns} FROM shadow_{table})"
        differing = f"(SELECT key FROM differing WHERE name = '{table}')"
        return (
            f"(SELECT {columns} FROM {table} WHERE id NOT IN {differing}"
            f" UNION ALL SELECT {columns} FROM shadow_{table} WHERE id IN {differing})"
        )

    def _judge(self, table: str) -> None:
        """Record the suspects that differ in `differing`."""
        key = TABLES[table][0]
        same = " AND ".join(f"s.{name} IS NOT DISTINCT FROM l.{name}" for name in TABLES[table])
        self._shadow.run(
            "INSERT INTO differing SELECT k.name, k.key FROM (SELECT DISTINCT name, key FROM suspects WHERE name = ?)"
            f" AS k LEFT JOIN shadow_{table} AS s ON s.{key} = k.key LEFT JOIN {table} AS l ON l.{key} = k.key"
            f" WHERE NOT ({same}) ORDER BY k.key",
            (table,),
        )

    # ── correcting ──────────────────────────────────────────────────────────────────────────────────

    def _swap(self) -> None:
        """Correct what the comparison found, under the log's lock: whole tables that are unsound, else rows."""
        run = self._shadow.run
        self._catch_up()
        self._replace_rows([table for table in TABLES if table not in self._unsound])
        for table in sorted(self._unsound):
            self._shadow.remake(table)
            if table in TABLES:
                run(f"INSERT INTO {table} SELECT * FROM shadow_{table}")
        if self._counts_differ or "counts" in self._unsound:
            run("DELETE FROM counts")
            run(f"INSERT INTO counts SELECT {KEYS}, count(*) FROM jobs GROUP BY {KEYS}")
        if self._tags_differ or "job_tags" in self._unsound:
            run("DELETE FROM job_tags")
            run(f"INSERT INTO job_tags {tags_of(self._shadow.dialect, 'jobs')}")
        self._remake_waits()
        self._shadow.note_version()
        self._writer.raise_format(self._format)

    def _remake_waits(self) -> None:
        """Derive `waits` from the jobs as they are now."""
        made = waiting_rows(Causes(self._shadow.run, self._log), self._shadow.run(_WAITING.format(jobs="jobs")))
        if self._waits_differ or set(made) != set(self._shadow.run(f"SELECT {', '.join(WAITS)} FROM waits")):
            self._shadow.run("DELETE FROM waits")
            for row in made:
                self._shadow.run(INSERT_WAITS, row)
        self._writer.note_reactive()

    def _replace_rows(self, tables: Sequence[str]) -> None:
        """Delete all wrong rows first, then insert, so that unique keys cannot collide."""
        chosen = {table: f"WHERE {TABLES[table][0]} {_DIFFERING}" for table in tables}
        for table in tables:
            self._shadow.run(f"DELETE FROM {table} {chosen[table]}", (table,))
        for table in tables:
            self._shadow.run(f"INSERT INTO {table} SELECT * FROM shadow_{table} {chosen[table]}", (table,))


def contrast(columns: Sequence[str], log: Sequence[Any], live: Sequence[Any]) -> str:
    """How a live row differs from the one derived from the log; names the first column that differs."""
    if live[0] is None:
        return "the row is missing"
    names = [i for i, (a, b) in enumerate(zip(log, live, strict=True)) if a != b]
    first = names[0]
    more = f", and {len(names) - 1} more columns" if names[1:] else ""
    return f"{columns[first]} is {_short(live[first])}, the log says {_short(log[first])}{more}"


def _counted(stream: Stream) -> dict[CountKey, int]:
    """The part of a stream in the counts."""
    key = count_key(stream.job)
    return {} if key is None else {key: 1}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
