"""Writes the rows that events make into the tables: new rows together, changed ones by the columns that differ."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job, fold
from queuectl.store.projections import (
    COUNT_KEYS,
    NO_TAGS,
    TABLES,
    TAGS,
    Row,
    count_key,
    job_row,
    note_row,
    place_of,
    rows,
    update_of,
)
from queuectl.store.rows import Change
from queuectl.store.sql.engine import Engine

__all__ = ["TableWriter"]


class TableWriter:
    """Writes the rows that events make into the projection tables. The caller holds the log's lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write(self, changes: Sequence[Change], batch: Sequence[Sequence[RecordedEvent]]) -> list[Job | None]:
        """Fold each change's events, write the rows that follow, and return the jobs in order."""
        jobs: list[Job | None] = []
        counts: Counter[tuple[str, int, str]] = Counter()
        fresh: dict[str, list[Any]] = {}
        updates: dict[str, list[Sequence[Any]]] = {}
        for change, records in zip(changes, batch, strict=True):
            job = fold(records, change.job)
            jobs.append(job)
            if job is None:
                self.write_notes(records)
                continue
            update, before, after = update_of(change.job, job), count_key(change.job), count_key(job)
            if update is None:
                self._write_rows(rows(change.job), rows(job), fresh, updates)
            else:
                _add_update(updates, "jobs", update.columns, update.pick(job_row(job)))
            if before is not None and before != after:
                counts[before] -= 1
            if after is not None and before != after:
                counts[after] += 1
        for sql, values in updates.items():
            self._engine.insert(sql, values)
        self.add(fresh, counts)
        return jobs

    def _write_rows(
        self,
        old: dict[str, Any],
        new: dict[str, Any],
        fresh: dict[str, list[Any]],
        updates: dict[str, list[Sequence[Any]]],
    ) -> None:
        """Sort a job's rows: new ones into `fresh`, by table, changed ones into `updates`, by statement."""
        for table, row in new.items():
            if table in old:
                differing = tuple(i for i, (a, b) in enumerate(zip(old[table], row, strict=True)) if a != b)
                _add_update(updates, table, differing, [*(row[i] for i in differing), row[0]])
            else:
                fresh.setdefault(table, []).append(row)
        for table in [table for table in old if table not in new]:
            self._put(Row(table, old[table][0], None))
        if "jobs" in old and ("jobs" not in new or old["jobs"][TAGS] != new["jobs"][TAGS]):
            from queuectl.store.sql.job_tags import replace_tags

            replace_tags(self._engine, old["jobs"], new.get("jobs"))

    def add(self, fresh: dict[str, list[Any]], counts: Counter[tuple[str, int, str]]) -> None:
        """Insert new rows, by table, and add to the counts.

        Rows that a corrupt table has under their keys are replaced: a retry would conflict every time.
        """
        deltas = [(*key, delta) for key, delta in counts.items() if delta]
        fewer = [key for *key, delta in deltas if delta < 0]
        tagged = [row for row in fresh.get("jobs", ()) if row[TAGS] != NO_TAGS]
        for table, new in fresh.items():
            if not self._engine.insert_new(_insert_sql(table), new):
                places = [TABLES[table].index(name) for name in _unique_columns(table)]
                self._engine.insert(_clear_sql(table), [[row[i] for i in places] for row in new])
                self._engine.insert(_insert_sql(table), new)
        if tagged:
            from queuectl.store.sql.job_tags import write_tags  # few jobs have tags

            write_tags(self._engine, tagged)
        if deltas:
            self._engine.insert(_ADD, deltas)
        if fewer:
            self._engine.insert(_DROP_ZERO, fewer)

    def write_notes(self, records: Sequence[RecordedEvent]) -> None:
        """Write the rows that notes set."""
        for record in records:
            place = place_of(record)
            row = note_row(record, None if place is None else self._row(*place))
            if row is not None:
                self._put(row)

    def _row(self, table: str, key: str) -> Row:
        """A row as it is now."""
        names = TABLES[table]
        found = self._engine.run(f"SELECT {', '.join(names)} FROM {table} WHERE {names[0]} = ?", (key,))
        return Row(table, key, found[0] if found else None)

    def _put(self, row: Row) -> None:
        key = TABLES[row.table][0]
        self._engine.insert(f"DELETE FROM {row.table} WHERE {key} = ?", [(row.key,)])
        if row.values is not None:
            self._engine.insert(_insert_sql(row.table), [row.values])


_ADD = (
    f"INSERT INTO counts VALUES (?, ?, ?, ?) ON CONFLICT ({', '.join(COUNT_KEYS)})"
    " DO UPDATE SET jobs = counts.jobs + excluded.jobs"
)
_DROP_ZERO = f"DELETE FROM counts WHERE {' AND '.join(f'{key} = ?' for key in COUNT_KEYS)} AND jobs = 0"


@cache
def _insert_sql(table: str) -> str:
    names = TABLES[table]
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def _unique_columns(table: str) -> list[str]:
    """The columns of a job's row that no other row may share."""
    return [name for name in ("id", "position") if name in TABLES[table]]


@cache
def _clear_sql(table: str) -> str:
    return f"DELETE FROM {table} WHERE {' OR '.join(f'{name} = ?' for name in _unique_columns(table))}"


def _add_update(
    updates: dict[str, list[Sequence[Any]]], table: str, columns: tuple[int, ...], values: Sequence[Any]
) -> None:
    """`values` are those of the columns, and then the key."""
    if columns:
        updates.setdefault(_update_sql(table, columns), []).append(values)


@cache
def _update_sql(table: str, columns: tuple[int, ...]) -> str:
    names = TABLES[table]
    return f"UPDATE {table} SET {', '.join(f'{names[i]} = ?' for i in columns)} WHERE {names[0]} = ?"
