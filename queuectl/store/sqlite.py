"""The event log and its projections in one SQLite file, through apsw."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apsw

from queuectl.domain.events import RecordedEvent, type_of
from queuectl.domain.job import Job, evolve
from queuectl.errors import StoreError
from queuectl.runtime import Clock, LogClock
from queuectl.store import codec
from queuectl.store.base import WAKING, Change, Head, StoredEvent, VersionConflictError
from queuectl.store.connection import check_format, connect, file_at, translated
from queuectl.store.projecting import ProjectedTables

__all__ = ["SqliteStore"]

_INSERT_EVENT = f"INSERT INTO events VALUES ({', '.join('?' * len(codec.COLUMNS))})"
_HEAD_AND_FORMAT = """
SELECT position, digest, recorded_at,
       (SELECT value FROM meta WHERE key = 'format'), (SELECT value FROM meta WHERE key = 'moved_to')
FROM (SELECT 1) LEFT JOIN (SELECT position, digest, recorded_at FROM events ORDER BY position DESC LIMIT 1)
"""
_TAKEN = (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY)
_EVENT = ", ".join(f"e.{column}" for column in codec.COLUMNS)
_PREVIOUS = "(SELECT p.digest FROM events AS p WHERE p.position = e.position - 1)"


class SqliteStore(ProjectedTables):
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
        head = self.head()
        position, digest = head.position, head.digest
        now = self._log_clock.now(head.recorded_at)
        salts = memoryview(os.urandom(codec.SALT_BYTES * sum(len(change.events) for change in changes)))
        stored: list[StoredEvent] = []
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
            if getattr(error, "extendedresult", 0) in _TAKEN:
                raise VersionConflictError(str(error)) from error
            with translated(self.path):
                raise
        except apsw.Error:
            with translated(self.path):
                raise

    def hold(self, job_id: str) -> None:
        """See EventStore."""
        with self.transaction():
            self._run("UPDATE jobs SET due_at = NULL, next_run_at = NULL WHERE id = ?", (job_id,))

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

    def stored(self, *, after: int = 0, until: int | None = None) -> Iterator[StoredEvent]:
        """See EventStore. In pages, like `records`."""
        last = self.head().position if until is None else until
        while True:
            page = self._run(
                f"SELECT {_EVENT} FROM events AS e WHERE e.position > ? AND e.position <= ?"
                " ORDER BY e.position LIMIT 1000",
                (after, last),
            )
            if not page:
                return
            yield from map(StoredEvent._make, page)
            after = page[-1][0]

    @property
    def base(self) -> Head:
        """See EventStore."""
        return self._base

    def _decoded(self, clause: str, parameters: Sequence[Any]) -> list[RecordedEvent]:
        found = self._run(f"SELECT {_EVENT}, {_PREVIOUS} FROM events AS e {clause}", parameters)
        return [codec.decode(StoredEvent(*row[:-1]), row[-1] or self._base.digest) for row in found]

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


def _refuse_control_characters(*texts: str) -> None:
    for text in texts:
        if not text.isprintable():
            raise StoreError(f"a control character in {text!r}: the log does not take it in ids and actors")
