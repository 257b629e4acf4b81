"""Carries events into the projection tables: new rows together, others by the columns that differ.

The same for every store: which rows is said by projections.py.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job, fold
from queuectl.store import projections
from queuectl.store.projections import COUNT_KEYS, TABLES, Row
from queuectl.store.protocol import Change
from queuectl.store.sql.tables import Tables

__all__ = ["ProjectedTables"]


class ProjectedTables(Tables):
    """The tables with what appending does to them."""

    def _project(self, changes: Sequence[Change], batch: list[list[RecordedEvent]]) -> list[Job | None]:
        """Carry the events into the tables: new rows together, others by the columns that differ."""
        jobs: list[Job | None] = []
        counts: Counter[tuple[str, int, str]] = Counter()
        fresh: dict[str, list[Any]] = {}
        for change, records in zip(changes, batch, strict=True):
            job = fold(records, change.job)
            jobs.append(job)
            if job is None:
                self._project_notes(records)
                continue
            self._project_job(projections.rows(change.job), projections.rows(job), fresh)
            _count(counts, change.job, job)
        for table, rows in fresh.items():
            self._add(table, rows)
        self._add_counts(counts)
        return jobs

    def _project_job(self, old: dict[str, Any], new: dict[str, Any], fresh: dict[str, list[Any]]) -> None:
        for table, row in new.items():
            if table in old:
                self._update(table, old[table], row)
            else:
                fresh.setdefault(table, []).append(row)
        for table in old.keys() - new.keys():
            self._put(Row(table, old[table][0], None))

    def _add(self, table: str, rows: list[Any]) -> None:
        """Insert rows, replacing any that a corrupt table has under their keys: a retry would conflict every time."""
        if not self._insert_new(_insert_sql(table), rows):
            places = [TABLES[table].index(name) for name in _places(table)]
            self._insert(_clear_sql(table), [[row[i] for i in places] for row in rows])
            self._insert(_insert_sql(table), rows)

    def _update(self, table: str, old: tuple[Any, ...], new: tuple[Any, ...]) -> None:
        differing = tuple(i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
        if differing:
            self._insert(_update_sql(table, differing), [[*(new[i] for i in differing), new[0]]])

    def _project_notes(self, records: Sequence[RecordedEvent]) -> None:
        for row in filter(None, map(projections.note_row, records)):
            self._put(row)

    def _put(self, row: Row) -> None:
        key = TABLES[row.table][0]
        self._insert(f"DELETE FROM {row.table} WHERE {key} = ?", [(row.key,)])
        if row.values is not None:
            self._insert(_insert_sql(row.table), [row.values])

    def _add_counts(self, counts: Counter[tuple[str, int, str]]) -> None:
        deltas = [(*key, delta) for key, delta in counts.items() if delta]
        if deltas:
            self._insert(_ADD, deltas)
        if fewer := [key for *key, delta in deltas if delta < 0]:
            self._insert(_DROP_ZERO, fewer)


_ADD = (
    f"INSERT INTO counts VALUES (?, ?, ?, ?) ON CONFLICT ({', '.join(COUNT_KEYS)})"
    " DO UPDATE SET jobs = counts.jobs + excluded.jobs"
)
_DROP_ZERO = f"DELETE FROM counts WHERE {' AND '.join(f'{key} = ?' for key in COUNT_KEYS)} AND jobs = 0"


@cache
def _insert_sql(table: str) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * len(TABLES[table]))})"


def _places(table: str) -> list[str]:
    """The columns of a job's row that no other row may share."""
    return [name for name in ("id", "position") if name in TABLES[table]]


@cache
def _clear_sql(table: str) -> str:
    return f"DELETE FROM {table} WHERE {' OR '.join(f'{name} = ?' for name in _places(table))}"


@cache
def _update_sql(table: str, columns: tuple[int, ...]) -> str:
    names = TABLES[table]
    return f"UPDATE {table} SET {', '.join(f'{names[i]} = ?' for i in columns)} WHERE {names[0]} = ?"


def _count(counts: Counter[tuple[str, int, str]], old: Job | None, new: Job | None) -> None:
    before, after = projections.count_key(old), projections.count_key(new)
    if before == after:
        return
    if before is not None:
        counts[before] -= 1
    if after is not None:
        counts[after] += 1
