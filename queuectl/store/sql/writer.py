"""Appends events and changes the tables with them, in one transaction under the log's lock.

projections.py makes the rows. Here they are only written: new rows together, changed ones by the columns that differ.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

from msgspec.structs import replace

from queuectl.domain.events import RecordedEvent
from queuectl.domain.formats import FIRST, format_of
from queuectl.domain.job import Job, fold
from queuectl.errors import StoreError, UsageError
from queuectl.store import codec
from queuectl.store.archive.sync import ArchiveSync
from queuectl.store.errors import DamagedEventError
from queuectl.store.meta import FORMATS, check_format, check_place
from queuectl.store.projections import (
    COUNT_KEYS,
    TABLES,
    VERSION,
    Row,
    count_key,
    job_row,
    note_row,
    place_of,
    rows,
    update_of,
)
from queuectl.store.protocol import WAKING
from queuectl.store.rows import Change, Head, StoredEvent
from queuectl.store.sql.engine import Engine, LockedLog
from queuectl.store.sql.log import Log
from queuectl.store.stream_fold import streams

__all__ = ["TableWriter", "Writer"]

_INSERT_EVENT = f"INSERT INTO events VALUES ({', '.join('?' * len(codec.COLUMNS))})"
_ONCE: tuple[tuple[()]] = ((),)
"""The rows of a statement without parameters."""


class Writer:
    """Implements `protocol.Writer`. `appended`, if given, is called with the jobs that each append results in."""

    def __init__(
        self,
        engine: Engine,
        log: Log,
        durability: str,
        sync: ArchiveSync | None,
        appended: Callable[[Sequence[Job | None]], None] | None = None,
    ) -> None:
        self.durability = durability
        self._engine, self._log, self._sync, self._appended = engine, log, sync, appended
        self._tables = TableWriter(engine)
        self._wakes = self._adopted = False
        self._format = FIRST

    # ── transactions ────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def transaction(
        self, *, durable: bool = True, rebuilding: bool = False, meanwhile: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """Hold the log's lock. `durable=False` (for claims only) does not wait for the disk.

        `meanwhile` may be called, again and again, while the commit waits for the disk. It must not use the store.
        `rebuilding` allows writing although another version of queuectl derived the tables.
        """
        engine, log = self._engine, self._log
        with engine.threads:
            if log.locked_head is not None:  # within a transaction of this store
                yield
                return
            if self._sync is not None and self._sync.refusal is not None:
                raise StoreError(self._sync.refusal)
            self._wakes = False
            found = engine.begin(durable and self.durability != "fast")
            try:
                if found.format not in FORMATS or (found.moved_to, found.projection_version) != (None, VERSION):
                    self._refuse_other_versions(found, rebuilding)
                self._format = cast(int, found.format)
                before = log.lock(found.last)
                yield
                after = log.locked_head
                assert after is not None
                engine.commit(before, after, self._wakes, meanwhile)
            except BaseException:
                engine.roll_back()
                if self._adopted:
                    self._identify()
                raise
            finally:
                log.locked_head, self._adopted = None, False
            if durable and self._sync is not None and after.position > before.position:
                self._sync.copy(after.position)

    def _refuse_other_versions(self, found: LockedLog, rebuilding: bool) -> None:
        """Raises StoreError when this version of queuectl must not write to this log any more."""
        check_format(found.format, self._engine.path)
        check_place(found.moved_to, self._engine.path)
        if found.projection_version != VERSION and not rebuilding:
            raise StoreError(f"another version of queuectl has taken over {self._engine.path}: start this one again")

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        """A part of a transaction that takes effect as a whole or not at all."""
        engine, head, form = self._engine, self._log.locked_head, self._format
        engine.insert("SAVEPOINT part", _ONCE)
        try:
            yield
            engine.run("RELEASE part")
        except BaseException:
            engine.run("ROLLBACK TO part")
            self._log.locked_head, self._format = head, form
            engine.insert("RELEASE part", _ONCE)
            raise

    def wake_workers(self) -> None:
        """Wake idle workers when the open transaction commits."""
        self._wakes = True

    def take_long(self) -> None:
        """Keep the open transaction alive, although no statement may run in it for long."""
        if self._engine.dialect.keep_alive is not None:
            self._engine.run(self._engine.dialect.keep_alive)

    # ── new events ──────────────────────────────────────────────────────────────────────────────────

    def append(self, changes: Sequence[Change], actor: str) -> list[Job | None]:
        """Append all changes or none. Returns the resulting jobs, in order. Raises VersionConflictError."""
        with self._engine.threads:
            if not any(change.events for change in changes):
                return [change.job for change in changes]
            _refuse_control_characters(actor, *(change.stream_id for change in changes))
            with self.transaction() if self._log.locked_head is None else self._savepoint():
                jobs = self._tables.write(changes, self._record(changes, actor))
            if self._appended is not None:
                self._appended(jobs)
            return jobs

    def raise_format(self, needed: int) -> None:
        """Raise the log's format, unless it is that high already. Only in an open transaction."""
        if needed > self._format:
            self._engine.set_meta("format", needed)
            self._format = needed

    def _record(self, changes: Sequence[Change], actor: str) -> list[list[RecordedEvent]]:
        """Insert the events, chained to the head, all with the same time; a wall clock that is behind it is noted."""
        self.raise_format(max(format_of(event) for change in changes for event in change.events))
        salts = memoryview(os.urandom(codec.SALT_BYTES * sum(len(change.events) for change in changes)))
        head = self._log.locked_head
        assert head is not None
        position, digest = head.position, head.digest
        wall, now = self._log.clock.both(head.recorded_at)
        is_behind = wall < head.recorded_at
        stored: list[StoredEvent] = []
        batch: list[list[RecordedEvent]] = []
        for change in changes:
            records = []
            for version, event in enumerate(change.events, change.version + 1):
                position += 1
                fact = replace(event, clock=wall) if is_behind else event
                record = RecordedEvent(position, change.stream_id, version, now, actor, fact)
                salt, salts = bytes(salts[: codec.SALT_BYTES]), salts[codec.SALT_BYTES :]
                stored.append(codec.seal(record, salt, digest))
                digest = stored[-1].digest
                records.append(record)
            batch.append(records)
        self._engine.insert(_INSERT_EVENT, stored)
        self._log.locked_head = Head(position, digest, now)
        self._wakes = self._wakes or any(row.type in WAKING for row in stored)
        return batch

    # ── events of another store of the same log ─────────────────────────────────────────────────────

    def append_stored(self, rows: Iterable[StoredEvent]) -> None:
        """Append rows of another store of this log unchanged and update the tables, 1000 rows a transaction.

        Raises DamagedEventError for a row that does not follow on the head, VersionConflictError for a taken version.
        """
        from queuectl.store.sql.stored_rows import batches

        for batch in batches(rows):
            with self.transaction():
                self._append_batch(batch)

    def _append_batch(self, batch: Sequence[StoredEvent]) -> None:
        """Append one batch. Rows are decoded, and the jobs that they change loaded, before any row is inserted."""
        from queuectl.store.sql.stored_rows import decoded, first_versions

        starts = first_versions(batch)
        changes = [change for start in starts.items() if (change := self._change(*start))]
        records, unreadable = decoded(batch, self._log.head())
        self.raise_format(max((format_of(each.event) for found in records.values() for each in found), default=FIRST))
        self._engine.insert(_INSERT_EVENT, batch)
        self._log.locked_head = Head(batch[-1].position, batch[-1].digest, batch[-1].recorded_at)
        sound = [change for change in changes if change.stream_id not in unreadable]
        self._tables.write(sound, [records[change.stream_id] for change in sound])
        for stream_id in starts.keys() - {change.stream_id for change in sound}:
            self.quarantine(stream_id)

    def _change(self, stream_id: str, version: int) -> Change | None:
        """A change to a stream, with its events before `version` folded; None when that part is damaged."""
        try:
            job = self._log.load(stream_id) if version > 1 and not stream_id.startswith("$") else None
        except DamagedEventError:
            return None
        return Change(stream_id, version - 1, (), job)

    def quarantine(self, job_id: str) -> None:
        """Make a job unclaimable. If its stream is damaged, release its unique key and write the damage to its row."""
        with self.transaction():
            self._engine.run("UPDATE jobs SET due_at = NULL, next_run_at = NULL WHERE id = ?", (job_id,))
            for stream in streams(self._log.examined(stream_id=job_id)):
                if stream.damage is not None:
                    self._engine.run(
                        "UPDATE jobs SET unique_key = NULL, locked_by = NULL, locked_at = NULL, last_error = ?"
                        " WHERE id = ?",
                        (stream.damage.for_tables, job_id),
                    )

    # ── which log this is, and where it continues ───────────────────────────────────────────────────

    def adopt(self, log_id: str, base: Head) -> None:
        """Make this empty store the store of another log. Only in an open transaction."""
        for key, value in {"log_id": log_id, "base_position": base.position, "base_digest": base.digest}.items():
            self._engine.set_meta(key, value)
        self._identify()
        self._log.locked_head, self._adopted = base, True
        if self._sync is not None and self._sync.refusal is not None:
            raise StoreError(self._sync.refusal)

    def _identify(self) -> None:
        self._log.identify(self._engine.meta())
        if self._sync is not None:
            self._sync.change_log()

    def move_to(self, place: str) -> None:
        """Refuse further changes and record where the log continues. Only in an open transaction."""
        self._engine.set_meta("moved_to", place)

    # ── the disk ────────────────────────────────────────────────────────────────────────────────────

    def on_disk(self) -> int:
        """The last position known to be on disk."""
        found = self._engine.last_on_disk()
        return self._log.base.position if found is None else found

    def bring_to_disk(self) -> int:
        """Sync claims at the log's end too, if possible. Returns the new `on_disk`."""
        head = self._log.head().position
        return head if self._engine.sync() else self.on_disk()


def _refuse_control_characters(*texts: str) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"{text!r} is no text: ids and actors are")
        if not text.isprintable():
            raise StoreError(f"a control character in {text!r}: the log does not take it in ids and actors")


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

    def add(self, fresh: dict[str, list[Any]], counts: Counter[tuple[str, int, str]]) -> None:
        """Insert new rows, by table, and add to the counts.

        Rows that a corrupt table has under their keys are replaced: a retry would conflict every time.
        """
        deltas = [(*key, delta) for key, delta in counts.items() if delta]
        fewer = [key for *key, delta in deltas if delta < 0]
        for table, new in fresh.items():
            if not self._engine.insert_new(_insert_sql(table), new):
                places = [TABLES[table].index(name) for name in _unique_columns(table)]
                self._engine.insert(_clear_sql(table), [[row[i] for i in places] for row in new])
                self._engine.insert(_insert_sql(table), new)
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
    return f"INSERT INTO {table} VALUES ({', '.join('?' * len(TABLES[table]))})"


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
