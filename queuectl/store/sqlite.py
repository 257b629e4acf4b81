"""The event log and its projections in one SQLite file, through apsw."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import apsw
import msgspec

from queuectl.domain.events import RecordedEvent, type_of
from queuectl.domain.job import Job, evolve, fold
from queuectl.errors import StoreError
from queuectl.runtime import Clock, LogClock
from queuectl.store import codec, projections
from queuectl.store.base import WAKING, Change, Head, VersionConflictError, WorkerRow
from queuectl.store.connection import check_format, connect, file_at, translated
from queuectl.store.projections import COUNT_KEYS, TABLES, Row
from queuectl.store.tables import Tables

__all__ = ["SqliteStore"]

_INSERT_EVENT = f"INSERT INTO events VALUES ({', '.join('?' * len(codec.COLUMNS))})"
_HEAD_AND_FORMAT = """
SELECT position, digest, recorded_at,
       (SELECT value FROM meta WHERE key = 'format'), (SELECT value FROM meta WHERE key = 'moved_to')
FROM (SELECT 1) LEFT JOIN (SELECT position, digest, recorded_at FROM events ORDER BY position DESC LIMIT 1)
"""
_EVENT = ", ".join(f"e.{column}" for column in codec.COLUMNS)
_PREVIOUS = "(SELECT p.digest FROM events AS p WHERE p.position = e.position - 1)"


class SqliteStore(Tables):
    """See EventStore in store/base.py."""

    def __init__(self, path: str, clock: Clock, busy_timeout: int = 10_000_000) -> None:
        self.path = path
        self._clock, self._log_clock = clock, LogClock(clock)
        self._db = connect(path, busy_timeout)
        meta = dict(self._run("SELECT key, value FROM meta"))
        self._log_id: str = meta["log_id"]
        self._base = Head(meta["base_position"], meta["base_digest"], 0)
        self._file = file_at(path)
        self._synchronous = "FULL"
        self._locked_head: Head | None = None
        self._data_version = self._read_data_version()

    # ── where things are ────────────────────────────────────────────────────────────────────────────

    @property
    def log_id(self) -> str:
        """See EventStore."""
        return self._log_id

    @property
    def output_folder(self) -> str:
        """The folder of the jobs' output files."""
        return f"{self.path}.output"

    @property
    def wake_file(self) -> str:
        """Touched after a commit that gives an idle worker something to do; workers watch it."""
        return os.path.join(self.output_folder, ".wake")

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """See EventStore."""
        if self._db.in_transaction:
            yield
            return
        self._begin("FULL" if durable else "NORMAL")
        try:
            self._locked_head = self._checked_head()
            yield
            self._run("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._run("ROLLBACK")
            raise
        finally:
            self._locked_head = None

    def _begin(self, synchronous: str) -> None:
        self._check_file()
        if synchronous != self._synchronous:
            self._run(f"PRAGMA synchronous={synchronous}")
            self._synchronous = synchronous
        self._run("BEGIN IMMEDIATE")

    def _check_file(self) -> None:
        """Refuse to write to a file that is no longer the one at its path: nobody would ever see it."""
        if self._file is not None and self._file != file_at(self.path):
            raise StoreError(f"the queue {self.path} was moved, removed or replaced while it was in use")

    def _checked_head(self) -> Head:
        """The head, now that nobody else can move it, and whether this version may still write: in one question."""
        found = self._run(_HEAD_AND_FORMAT)
        check_format(found[0][3], found[0][4], self.path)
        return Head(*found[0][:3]) if found[0][0] is not None else self._base

    def now(self) -> int:
        """See EventStore."""
        return self._log_clock.now(self.head().recorded_at)

    def append(self, changes: Sequence[Change], actor: str) -> list[Job | None]:
        """See EventStore."""
        if not any(change.events for change in changes):
            return [change.job for change in changes]
        _refuse_control_characters(actor, *(change.stream_id for change in changes))
        with self.transaction():
            batch = self._record(changes, actor)
            jobs = self._project(changes, batch)
        if any(type_of(record.event) in WAKING for records in batch for record in records):
            self._wake()
        return jobs

    def _record(self, changes: Sequence[Change], actor: str) -> list[list[RecordedEvent]]:
        """Insert the events, chained to the head, all with the same time."""
        position, digest, last_recorded = self.head()
        now = self._log_clock.now(last_recorded)
        salts = memoryview(os.urandom(codec.SALT_BYTES * sum(len(change.events) for change in changes)))
        stored: list[codec.StoredEvent] = []
        batch: list[list[RecordedEvent]] = []
        for change in changes:
            records = []
            for version, event in enumerate(change.events, change.version + 1):
                position += 1
                record = RecordedEvent(position, change.stream_id, version, now, actor, event)
                salt, salts = bytes(salts[: codec.SALT_BYTES]), salts[codec.SALT_BYTES :]
                stored.append(codec.seal(record, salt, digest))
                digest = stored[-1].digest
                records.append(record)
            batch.append(records)
        self._insert(_INSERT_EVENT, stored)
        self._locked_head = Head(position, digest, now)
        return batch

    def _insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows. A taken (stream, version) or unique key means that someone was faster."""
        try:
            if len(rows) == 1:
                self._db.execute(sql, rows[0])
            else:
                self._db.executemany(sql, rows)
        except apsw.ConstraintError as error:
            raise VersionConflictError(str(error)) from error
        except apsw.Error:
            with translated(self.path):
                raise

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
            self._insert(_insert_sql(table), rows)
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

    def _update(self, table: str, old: tuple[Any, ...], new: tuple[Any, ...]) -> None:
        differing = tuple(i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
        if differing:
            self._insert(_update_sql(table, differing), [[*(new[i] for i in differing), new[0]]])

    def _project_notes(self, records: Sequence[RecordedEvent]) -> None:
        for row in filter(None, map(projections.note_row, records)):
            self._put(row)

    def _put(self, row: Row) -> None:
        key = TABLES[row.table][0]
        self._run(f"DELETE FROM {row.table} WHERE {key} = ?", (row.key,))
        if row.values is not None:
            self._run(_insert_sql(row.table), row.values)

    def _add_counts(self, counts: Counter[tuple[str, int, str]]) -> None:
        deltas = [(*key, delta) for key, delta in counts.items() if delta]
        if deltas:
            self._run(_add_sql(len(deltas)), [value for row in deltas for value in row])
        for *key, delta in deltas:
            if delta < 0:
                self._run(_DROP_ZERO, key)

    def hold(self, job_id: str) -> None:
        """See EventStore."""
        with self.transaction():
            self._run("UPDATE jobs SET due_at = NULL, next_run_at = NULL WHERE id = ?", (job_id,))

    def beat(self, worker: WorkerRow) -> None:
        """See EventStore."""
        row = msgspec.structs.asdict(worker)
        row["queues"] = msgspec.json.encode(worker.queues).decode()
        kept = ", ".join(f"{name} = excluded.{name}" for name in row if name not in ("name", "stop_requested"))
        with self.transaction(durable=False):
            self._run(
                f"INSERT INTO workers ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
                f" ON CONFLICT (name) DO UPDATE SET {kept}",
                tuple(row.values()),
            )

    def forget(self, worker: str) -> None:
        """See EventStore."""
        with self.transaction(durable=False):
            self._run("DELETE FROM workers WHERE name = ?", (worker,))

    def ask_to_stop(self, worker: str) -> bool:
        """See EventStore."""
        with self.transaction(durable=False):
            self._run("UPDATE workers SET stop_requested = stop_requested + 1 WHERE name = ?", (worker,))
            found = self._db.changes() > 0
        self._wake()
        return found

    def _wake(self) -> None:
        try:
            os.utime(self.wake_file)
        except OSError:
            return  # no worker has ever watched it; a hint, the workers' poll is the truth

    # ── reading the log ─────────────────────────────────────────────────────────────────────────────

    def head(self) -> Head:
        """See EventStore."""
        if self._locked_head is not None:
            return self._locked_head
        found = self._run("SELECT position, digest, recorded_at FROM events ORDER BY position DESC LIMIT 1")
        return Head(*found[0]) if found else self._base

    def load(self, job_id: str) -> Job | None:
        """See EventStore."""
        job: Job | None = None
        for record in self._decoded("WHERE e.stream_id = ? ORDER BY e.version", (job_id,)):
            job = evolve(job, record)
        return job

    def version(self, stream_id: str) -> int:
        """See EventStore."""
        return int(self._run("SELECT coalesce(max(version), 0) FROM events WHERE stream_id = ?", (stream_id,))[0][0])

    def records(
        self, *, after: int = 0, until: int | None = None, stream_id: str | None = None
    ) -> Iterator[RecordedEvent]:
        """See EventStore. Reads in pages, so that no read transaction stays open between them (the -wal would grow)."""
        last = self.head().position if until is None else until
        where, extra = ("e.stream_id = ? AND", (stream_id,)) if stream_id is not None else ("", ())
        while True:
            page = self._decoded(
                f"WHERE {where} e.position > ? AND e.position <= ? ORDER BY e.position LIMIT 500", (*extra, after, last)
            )
            if not page:
                return
            yield from page
            after = page[-1].position

    def _decoded(self, clause: str, parameters: Sequence[Any]) -> list[RecordedEvent]:
        found = self._run(f"SELECT {_EVENT}, {_PREVIOUS} FROM events AS e {clause}", parameters)
        return [codec.decode(codec.StoredEvent(*row[:-1]), row[-1] or self._base.digest) for row in found]

    def streams(self, prefix: str, limit: int) -> list[str]:
        """See EventStore."""
        found = self._run(
            "SELECT DISTINCT stream_id FROM events WHERE stream_id >= ? AND stream_id < ? LIMIT ?",
            (prefix, prefix + "\U0010ffff", limit),
        )
        return [row[0] for row in found if not row[0].startswith("$")]

    def changed(self) -> bool:
        """See EventStore."""
        seen, self._data_version = self._data_version, self._read_data_version()
        return seen != self._data_version

    def _read_data_version(self) -> int:
        return int(self._run("PRAGMA data_version")[0][0])

    def close(self) -> None:
        """See EventStore."""
        with translated(self.path):
            self._db.close()

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, parameters).fetchall()
        except apsw.ConnectionClosedError as error:
            raise StoreError(f"the queue {self.path} is closed") from error
        except apsw.Error:
            with translated(self.path):
                raise


@cache
def _add_sql(rows: int) -> str:
    return (
        f"INSERT INTO counts VALUES {', '.join(['(?, ?, ?, ?)'] * rows)} ON CONFLICT ({', '.join(COUNT_KEYS)})"
        " DO UPDATE SET jobs = jobs + excluded.jobs"
    )


_DROP_ZERO = f"DELETE FROM counts WHERE {' AND '.join(f'{key} = ?' for key in COUNT_KEYS)} AND jobs = 0"


@cache
def _insert_sql(table: str) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * len(TABLES[table]))})"


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


def _refuse_control_characters(*texts: str) -> None:
    for text in texts:
        if not text.isprintable():
            raise StoreError(f"a control character in {text!r}: the log does not take it in ids and actors")
