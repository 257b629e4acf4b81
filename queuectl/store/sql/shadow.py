"""The tables derived again from the log, compared with the live ones, whose differing rows they replace.

The same for every store. The log is folded stream by stream, in pages and without a lock, into tables of the
connection's own; which rows differ from the live ones is judged at one moment. Only that and putting in place need a
transaction.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from queuectl.store.projections import COUNT_KEYS, TABLES, Values
from queuectl.store.protocol import Inspect
from queuectl.store.sql.log_reader import ExaminedLog
from queuectl.store.stream_fold import Life, lives
from queuectl.store.table_diff import SHOWN, Difference, Differences

__all__ = ["KEYS", "MADE", "OF_JOBS", "Shadow"]

BATCH = 500
NEAR = 500
"""So few events behind, the rest is folded while nothing moves."""

OF_JOBS = [table for table, columns in TABLES.items() if columns[0] == "id"]
MADE = (*TABLES, "counts", "workers")
"""The tables that can be derived again. The workers' table is only checked for being readable: heartbeats return."""
KEYS = ", ".join(COUNT_KEYS)
_DIFFERING = "IN (SELECT key FROM differing WHERE name = ?)"


class Shadow(ABC):
    """The tables as the log makes them at `position`, in `shadow_…`; what of the live ones differs, in `differing`."""

    def __init__(self, log: ExaminedLog) -> None:
        self._log = log
        self._unsound: dict[str, str] = {}
        self._counts_differ = False
        self.position = 0

    # ── folding ─────────────────────────────────────────────────────────────────────────────────────

    def fold(self, inspect: Inspect | None = None) -> None:
        """Fold the whole log as it is now."""
        self._make()
        self._unsound = {table: why for table in MADE if (why := self._wrecked(table))}
        head = self._log.head().position
        with self._next_to_live_rows():
            self._put(lives(self._log.examined(until=head), inspect))
        self.position = head
        while self._log.head().position - self.position > NEAR:
            self.catch_up()

    def catch_up(self) -> None:
        """Fold again the streams that have grown since: all of them, when no one can write."""
        head = self._log.head().position
        sql = "SELECT DISTINCT stream_id FROM events WHERE position > ? AND position <= ?"
        for (stream,) in self._run(sql, (self.position, head)):
            for table in OF_JOBS:
                self._forget(table, stream)
            self._put(lives(self._log.examined(stream_id=stream, until=head)))
        self.position = head

    def _put(self, folded: Iterable[Life]) -> None:
        batch: dict[str, list[Values]] = {table: [] for table in TABLES}
        for life in folded:
            for table, values in life.rows().items():
                if self._is_wanted(table, values):
                    batch[table].append(values)
            for row in life.notes.values():
                self._forget(row.table, row.key)
                batch[row.table] += [] if row.values is None else [row.values]
            if len(batch["jobs"]) >= BATCH:
                self._flush(batch)
        self._flush(batch)

    def _next_to_live_rows(self) -> AbstractContextManager[None]:
        """While the whole log is folded; a store may read the live rows on the way."""
        return nullcontext()

    def _is_wanted(self, _table: str, _values: Values) -> bool:
        """Whether a row has to be kept; one that is live just so need not be."""
        return True

    def _forget(self, table: str, key: str) -> None:
        self._run(f"DELETE FROM shadow_{table} WHERE {TABLES[table][0]} = ?", (key,))

    # ── comparing ───────────────────────────────────────────────────────────────────────────────────

    def compare(self) -> Differences:
        """What differs from the live tables at one moment; `swap` puts just that right."""
        found = Differences()
        with self._reading():
            self.catch_up()
            for table in MADE:
                if why := self._unsound.get(table):
                    found.add(Difference(table, None, why))
                elif table == "counts":
                    self._compare_counts(found)
                elif table in TABLES:
                    self._compare(table, found)
        return found

    def _compare(self, table: str, found: Differences) -> None:
        for key, name in self._differing(table):
            found.add(Difference(table, name, self._contrast(table, key) if len(found.first) < SHOWN else ""))

    def _compare_counts(self, found: Differences) -> None:
        for where, *key, jobs in self._differing_counts():
            self._counts_differ = True
            found.add(Difference("counts", "/".join(map(str, key)), f"{jobs} in the {where} alone"))

    # ── putting in place ────────────────────────────────────────────────────────────────────────────

    def swap(self) -> None:
        """Correct what `compare` found, under the log's lock: whole tables that are corrupt, else rows."""
        self.catch_up()
        self._replace_rows([table for table in TABLES if table not in self._unsound])
        for table in sorted(self._unsound):
            self._remake(table)
            if table in TABLES:
                self._run(f"INSERT INTO {table} SELECT * FROM shadow_{table}")
        if self._counts_differ or "counts" in self._unsound:
            self._run("DELETE FROM counts")
            self._run(f"INSERT INTO counts SELECT {KEYS}, count(*) FROM jobs GROUP BY {KEYS}")
        self._are_of_this_version()

    def _replace_rows(self, tables: Sequence[str]) -> None:
        """All that is wrong goes before anything comes, so that no row is in the way of another."""
        chosen = {table: f"WHERE {TABLES[table][0]} {_DIFFERING}" for table in tables}
        for table in tables:
            self._run(f"DELETE FROM {table} {chosen[table]}", (table,))
        for table in tables:
            self._run(f"INSERT INTO {table} SELECT * FROM shadow_{table} {chosen[table]}", (table,))

    # ── what each store does its own way ────────────────────────────────────────────────────────────

    @abstractmethod
    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""

    @abstractmethod
    def _make(self) -> None:
        """Make `shadow_…` and `differing`, empty."""

    @abstractmethod
    def _wrecked(self, table: str) -> str | None:
        """What is wrong with a live table itself."""

    @abstractmethod
    def _flush(self, batch: dict[str, list[Values]]) -> None:
        """Write the rows into `shadow_…`, and empty the lists."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[None]:
        """One moment: a read transaction, unless one is open already."""

    @abstractmethod
    def _differing(self, table: str) -> Iterator[tuple[Any, str]]:
        """The rows that differ: what `_contrast` knows each by, and its key. They are in `differing` from then on."""

    @abstractmethod
    def _contrast(self, table: str, key: Any) -> str:
        """How a row differs."""

    @abstractmethod
    def _differing_counts(self) -> Iterator[tuple[Any, ...]]:
        """`log` or `table`, the key and the number of what is in one alone."""

    @abstractmethod
    def _remake(self, table: str) -> None:
        """Create a live table again, empty and with the right schema."""

    @abstractmethod
    def _are_of_this_version(self) -> None:
        """Note which version's tables these are."""

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind."""
