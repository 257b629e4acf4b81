"""Derives the tables again from the log, compares them with the live ones, and corrects the rows that differ.

The log is folded stream by stream, in pages and without a lock, into temporary tables of this connection. Which live
rows differ is decided at one moment. Only that and the correction need a transaction.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from queuectl.store.projections import COUNT_KEYS, TABLES, Values
from queuectl.store.protocol import Inspect
from queuectl.store.rows import SHOWN, Difference, Differences
from queuectl.store.sql.log import Log
from queuectl.store.sql.writer import Writer
from queuectl.store.stream_fold import Stream, streams

__all__ = ["KEYS", "MADE", "OF_JOBS", "Rebuild", "ShadowTables", "contrast"]

BATCH = 500
NEAR = 500
"""With at most so many events left to fold, they are folded under the lock."""

OF_JOBS = [table for table, columns in TABLES.items() if columns[0] == "id"]
MADE = (*TABLES, "counts", "workers")
"""The tables that can be derived again. The workers' table is only checked for being readable: heartbeats return."""
KEYS = ", ".join(COUNT_KEYS)
_DIFFERING = "IN (SELECT key FROM differing WHERE name = ?)"


class ShadowTables(Protocol):
    """An engine's temporary tables: `shadow_…` holds derived rows, `differing` the keys of live rows that differ."""

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""

    def make(self) -> None:
        """Create the temporary tables, empty."""

    def unsound(self, table: str) -> str | None:
        """Why a live table as a whole is unusable; None when it is sound."""

    def along_live_rows(self, unsound: Iterable[str]) -> AbstractContextManager[None]:
        """While the whole log is folded. An engine may read the live rows meanwhile, but not of `unsound` tables."""

    def is_wanted(self, table: str, values: Values) -> bool:
        """Whether a derived row has to be stored; not needed if the live row is known to be the same."""

    def store(self, batch: dict[str, list[Values]]) -> None:
        """Write derived rows, by table, into `shadow_…`, and empty the lists."""

    def remove(self, table: str, key: str) -> None:
        """Delete a derived row, because its stream has grown."""

    def reading(self) -> AbstractContextManager[None]:
        """A read transaction, unless one is open already."""

    def differing(self, table: str) -> Iterator[tuple[Any, str]]:
        """The rows that differ, each as the argument for `contrast` and its key; records them in `differing`."""

    def contrast(self, table: str, row: Any) -> str:
        """How a row differs."""

    def differing_counts(self) -> Iterator[tuple[Any, ...]]:
        """`log` or `table`, then the key and the number of a row of `counts` that only that side has."""

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
        self._counts_differ = False
        self._position = 0

    def compare(self, inspect: Inspect | None = None) -> Differences:
        """Compare the tables with the log at one moment; `inspect` receives every event."""
        with self._folded(inspect):
            return self._compared()

    def run(self, inspect: Inspect | None = None) -> Differences:
        """Compare, and correct what differs."""
        with self._folded(inspect):
            found = self._compared()
            with self._writer.transaction(rebuilding=True):
                self._swap()
            return found

    # ── folding ─────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _folded(self, inspect: Inspect | None) -> Iterator[None]:
        """Fold the whole log into the temporary tables, which are dropped in the end."""
        shadow = self._shadow
        try:
            shadow.make()
            self._unsound = {table: why for table in MADE if (why := shadow.unsound(table))}
            head = self._log.head().position
            with shadow.along_live_rows(self._unsound):
                self._store(streams(self._log.examined(until=head), inspect))
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
                self._shadow.remove(table, stream_id)
            self._store(streams(self._log.examined(stream_id=stream_id, until=head)))
        self._position = head

    def _store(self, folded: Iterable[Stream]) -> None:
        batch: dict[str, list[Values]] = {table: [] for table in TABLES}
        for stream in folded:
            for table, values in stream.rows().items():
                if self._shadow.is_wanted(table, values):
                    batch[table].append(values)
            for row in stream.notes.values():
                self._shadow.remove(row.table, row.key)
                batch[row.table] += [] if row.values is None else [row.values]
            if len(batch["jobs"]) >= BATCH:
                self._shadow.store(batch)
        self._shadow.store(batch)

    # ── comparing ───────────────────────────────────────────────────────────────────────────────────

    def _compared(self) -> Differences:
        found = Differences()
        with self._shadow.reading():
            self._catch_up()
            for table in MADE:
                if why := self._unsound.get(table):
                    found.add(Difference(table, None, why))
                elif table == "counts":
                    self._compare_counts(found)
                elif table in TABLES:
                    self._compare_rows(table, found)
        return found

    def _compare_rows(self, table: str, found: Differences) -> None:
        for row, key in self._shadow.differing(table):
            why = self._shadow.contrast(table, row) if len(found.first) < SHOWN else ""
            found.add(Difference(table, key, why))

    def _compare_counts(self, found: Differences) -> None:
        for where, *key, jobs in self._shadow.differing_counts():
            self._counts_differ = True
            found.add(Difference("counts", "/".join(map(str, key)), f"{jobs} in the {where} alone"))

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
        self._shadow.note_version()

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


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
