"""The event log and its projections in one SQLite file, through apsw."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import apsw

from queuectl.domain.events import RecordedEvent, type_of
from queuectl.domain.job import Job
from queuectl.errors import StoreError
from queuectl.runtime import Clock, LogClock
from queuectl.store import codec
from queuectl.store.archive import Archive, Keeping
from queuectl.store.base import WAKING, Change, Head, NoTextError, StoredEvent, VersionConflictError
from queuectl.store.connection import MEMORY, check_format, check_place, connect, file_at, set_wal_mode, translated
from queuectl.store.keeping import Keeper
from queuectl.store.moments import Moments
from queuectl.store.rebuilding import RebuiltTables
from queuectl.store.replaying import ReplayedTables

__all__ = ["SqliteStore"]

_INSERT_EVENT = f"INSERT INTO events VALUES ({', '.join('?' * len(codec.COLUMNS))})"
_HEAD_AND_FORMAT = """
SELECT position, digest, recorded_at,
       (SELECT value FROM meta WHERE key = 'format'), (SELECT value FROM meta WHERE key = 'moved_to'),
       (SELECT value FROM meta WHERE key = 'projection_version')
FROM (SELECT 1) LEFT JOIN (SELECT position, digest, recorded_at FROM events ORDER BY position DESC LIMIT 1)
"""
_TAKEN = (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_TRIGGER)


class SqliteStore(RebuiltTables, Moments, ReplayedTables):
    """See EventStore in store/base.py."""

    spans_hosts = False

    def __init__(
        self,
        path: str,
        clock: Clock,
        busy_timeout: int = 10_000_000,
        keep: Callable[[Mapping[str, str]], Keeping] = lambda stored: Keeping(),
    ) -> None:
        self.path = path
        self._clock, self._log_clock = clock, LogClock(clock)
        self._db = connect(path, busy_timeout)
        self._file = file_at(path)
        self._synchronous = "FULL"
        self._locked_head: Head | None = None
        self._keeping = self._how_to_keep(keep)
        self._become_what_meta_says()
        self._follow_this_version(self._derived_by)
        if self._keeper is not None:
            self._keeper.compare()
        self._data_version = self._read_data_version()

    def _how_to_keep(self, keep: Callable[[Mapping[str, str]], Keeping]) -> Keeping:
        try:
            return keep(self.settings())
        except StoreError:
            return keep({})  # a wrecked table is for `rebuild`

    def _become_what_meta_says(self) -> None:
        """Whose log this is, and so which archive is its own."""
        meta = dict(self._run("SELECT key, value FROM meta"))
        try:
            self._log_id: str = meta["log_id"]
            self._base = Head(meta["base_position"], meta["base_digest"], 0)
        except KeyError as error:
            raise StoreError(f"{self.path} is damaged ({error} is missing): run `queuectl recover`") from error
        self._keeper: Keeper | None = None
        self._adopted = False
        self._derived_by = meta.get("projection_version")
        if self.path != MEMORY and self._keeping.archived:
            archive = Archive(self.path, self._log_id, self._base, self._keeping.archive_dir)
            self._keeper = Keeper(self, archive, self._keeping)

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
        if self._in_transaction():
            yield
            return
        self._begin("FULL" if durable else "NORMAL")
        try:
            self._check_file()
            self._locked_head = before = self._checked_head()
            yield
            after = self._locked_head
            self._run("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._run("ROLLBACK")
            if self._adopted:
                self._become_what_meta_says()
            raise
        finally:
            self._locked_head, self._adopted = None, False
        if durable and self._keeper is not None and after.position > before.position:
            self._keeper.copy(after.position)

    def _in_transaction(self) -> bool:
        try:
            return self._db.in_transaction
        except apsw.ConnectionClosedError as error:
            raise StoreError(f"the queue {self.path} is closed") from error

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        """A part of a transaction that is done as a whole or not at all."""
        head = self._locked_head
        self._run("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self._run("ROLLBACK TO part")
            self._locked_head = head
            raise
        finally:
            if self._db.in_transaction:
                self._run("RELEASE part")

    def _begin(self, synchronous: str) -> None:
        self._refuse_beside()
        if self._keeping.durability == "fast":
            synchronous = "NORMAL"
        if synchronous != self._synchronous:
            self._run(f"PRAGMA synchronous={synchronous}")
            self._synchronous = synchronous
        self._run("BEGIN IMMEDIATE")

    def _refuse_beside(self) -> None:
        """Refuse to write to a database that is beside its archive."""
        if self._keeper is not None and self._keeper.refusal is not None:
            raise StoreError(self._keeper.refusal)

    def _check_file(self) -> None:
        """Refuse to write to a file that is no longer the one at its path: nobody would ever see it."""
        if self._file is not None and self._file != file_at(self.path):
            raise StoreError(f"the queue {self.path} was moved, removed or replaced while it was in use")

    def _checked_head(self) -> Head:
        """The head, now that nobody else can move it, and whether this version may still write: in one question."""
        found = self._run(_HEAD_AND_FORMAT)
        check_format(found[0][3], self.path)
        check_place(found[0][4], self.path)
        self._check_version(found[0][5])
        return Head(*found[0][:3]) if found[0][0] is not None else self._base

    def now(self) -> int:
        """See EventStore."""
        return self._log_clock.now(self.head().recorded_at)

    def append(self, changes: Sequence[Change], actor: str) -> list[Job | None]:
        """See EventStore."""
        if not any(change.events for change in changes):
            return [change.job for change in changes]
        _refuse_control_characters(actor, *(change.stream_id for change in changes))
        with self._savepoint() if self._in_transaction() else self.transaction():
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
        self._insert_events(stored)
        self._locked_head = Head(position, digest, now)
        return batch

    def _insert_events(self, rows: Sequence[StoredEvent]) -> None:
        self._insert(_INSERT_EVENT, rows)

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

    def copy_to(self, path: str) -> None:
        """See EventStore."""
        self._run("VACUUM INTO ?", (path,))
        set_wal_mode(path)

    def flaws(self) -> list[str]:
        """See EventStore."""
        try:
            found = [str(row[0]) for row in self._run("PRAGMA quick_check(20)")]
        except StoreError as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    @property
    def archive(self) -> Archive | None:
        """See EventStore."""
        return self._keeper.archive if self._keeper is not None else None

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

    def digest_at(self, position: int) -> bytes | None:
        """The digest of an event, None when there is no such event."""
        found = self._run("SELECT digest FROM events WHERE position = ?", (position,))
        return found[0][0] if found else None

    def version(self, stream_id: str) -> int:
        """See EventStore."""
        return int(self._run("SELECT coalesce(max(version), 0) FROM events WHERE stream_id = ?", (stream_id,))[0][0])

    @property
    def base(self) -> Head:
        """See EventStore."""
        return self._base

    def bring_to_disk(self) -> int:
        """See EventStore. A checkpoint syncs the whole -wal before it carries anything over, and holds nobody up."""
        if self._db.readonly("main"):
            return self.on_disk()
        head = self.head().position
        busy, pages, carried = self._run("PRAGMA wal_checkpoint(PASSIVE)")[0]
        return head if not busy and pages == carried else self.on_disk()

    def changed(self) -> bool:
        """See EventStore."""
        seen, self._data_version = self._data_version, self._read_data_version()
        return seen != self._data_version

    def _read_data_version(self) -> int:
        return int(self._run("PRAGMA data_version")[0][0])

    def close(self) -> None:
        """See EventStore."""
        if self._keeper is not None:
            self._keeper.close()
        with translated(self.path):
            self._db.close()

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, parameters).fetchall()
        except apsw.ConnectionClosedError as error:
            raise StoreError(f"the queue {self.path} is closed") from error
        except UnicodeDecodeError as error:
            raise NoTextError(f"{self.path} holds bytes that are no text: run `queuectl rebuild`") from error
        except apsw.Error:
            with translated(self.path):
                raise


def _refuse_control_characters(*texts: str) -> None:
    for text in texts:
        if not text.isprintable():
            raise StoreError(f"a control character in {text!r}: the log does not take it in ids and actors")
