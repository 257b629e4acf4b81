"""The engine for one SQLite file, through apsw: statements, transactions, and recovery from failed disk syncs."""

import os
import stat
from _thread import RLock
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

import apsw

from queuectl.errors import StoreBusyError, StoreError, command_line
from queuectl.store.errors import NoTextError, VersionConflictError
from queuectl.store.fork_guard import Opener
from queuectl.store.rows import Head, HealthFinding
from queuectl.store.sql.engine import SET_META, SQLITE, LockedLog
from queuectl.store.sql.location import wake_file_in
from queuectl.store.sqlite.connection import (
    APPLICATION_ID,
    MEMORY,
    connect,
    finish_copy,
    first_use,
    scanning,
    translated,
)

if TYPE_CHECKING:
    from queuectl.store.sqlite.commit_thread import CommitThread
    from queuectl.store.sqlite.rebuild import SqliteShadowTables

__all__ = ["SqliteEngine", "SqliteStorage"]

_LOCKED_LOG = """
SELECT position, digest, recorded_at,
       (SELECT value FROM meta WHERE key = 'format'), (SELECT value FROM meta WHERE key = 'moved_to'),
       (SELECT value FROM meta WHERE key = 'projection_version'), (SELECT value FROM meta WHERE key = 'reactive')
FROM (SELECT 1) LEFT JOIN (SELECT position, digest, recorded_at FROM events ORDER BY position DESC LIMIT 1)
"""
_LAST_SYNCED = "SELECT position FROM events WHERE type <> 'claimed' ORDER BY position DESC LIMIT 1"
"""The last event that is not a claim. Its commit synced everything before it; commits of claims alone do not sync."""

_TAKEN = (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_TRIGGER)

_WRITING = (apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_TRUNCATE)
"""Errors of `VACUUM INTO` that concern the file that it writes, not the one that it reads."""


class SqliteEngine:
    """Implements `sql.engine.Engine` on one connection to the database at `path`.

    After a failed fsync Linux does not write those pages again, and the next fsync succeeds. Unsynced parts of the
    -wal (claims) may then be missing from the disk, and a power cut would lose everything after them. So the -wal is
    emptied before anything is appended to it; until that succeeds, the file `PATH.unsynced` warns later openers.
    """

    dialect = SQLITE

    def __init__(self, path: str, busy_timeout: int, *, only_read: bool = False) -> None:
        self.path = path
        self.threads = RLock()
        self._opener = Opener(path)
        self._wake_file = wake_file_in(f"{path}.output")
        self.db, self._file = _connected(path, busy_timeout, only_read)
        self._synchronous = "FULL"
        self._committer: CommitThread | None = None
        self._sync_failed = not only_read and os.path.exists(self._marker)
        if self._sync_failed:  # first, before anything that is only in the -wal counts as being on disk
            self._empty_wal_or_mark()
        self._data_version = self._read_data_version()

    # ── statements ──────────────────────────────────────────────────────────────────────────────────

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        if self._opener.gone:
            self._opener.check()
        with self.threads:
            return self._execute(sql, parameters)

    def _execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self.db.execute(sql, parameters).fetchall()
        except apsw.ConnectionClosedError as error:
            raise self._closed() from error
        except UnicodeDecodeError as error:
            raise NoTextError(
                f"{self.path} contains bytes that are not text: run `{command_line('rebuild')}`"
            ) from error
        except apsw.Error as error:
            self._note_failure(error)
            with translated(self.path):
                raise

    def insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row. Raises VersionConflictError when a (stream, version) or key is taken."""
        if self._opener.gone:
            self._opener.check()
        try:
            if len(rows) == 1:
                self.db.execute(sql, rows[0])
            else:
                self.db.executemany(sql, rows)
        except OverflowError as error:
            raise StoreError(f"a number is too large for {self.path}: it stores 64 bits") from error
        except apsw.ConstraintError as error:
            if getattr(error, "extendedresult", 0) in _TAKEN:
                raise VersionConflictError(str(error)) from error
            with translated(self.path):
                raise
        except apsw.Error as error:
            self._note_failure(error)  # a new -wal is synced when its first pages do not fit into memory
            with translated(self.path):
                raise

    def insert_new(self, sql: str, rows: Sequence[Sequence[Any]]) -> bool:
        """Insert rows; False when the key of any is taken."""
        try:
            self.insert(sql, rows)
        except VersionConflictError:
            return False
        return True

    # ── transactions ────────────────────────────────────────────────────────────────────────────────

    def begin(self, durable: bool) -> LockedLog:
        """Begin a transaction that holds the log's lock. A commit waits for the disk if `durable`."""
        if self._is_read_only():  # SQLite would begin one that only reads, and hold no lock
            with translated(self.path):
                raise apsw.ReadOnlyError
        if self._sync_failed:
            self._empty_wal()
        self._wait_for_disk("FULL" if durable else "NORMAL")
        self.run("BEGIN IMMEDIATE")
        try:
            return self._locked_log()
        except BaseException:
            self.roll_back()
            raise

    def _is_read_only(self) -> bool:
        try:
            return self.db.readonly("main")
        except apsw.ConnectionClosedError as error:
            raise self._closed() from error

    def _closed(self) -> StoreError:
        return StoreError(f"the queue {self.path} is closed")

    def _locked_log(self) -> LockedLog:
        """Read the log's end and the versions in one statement.

        Raises StoreError when the file is no longer the one at its path: nobody would see the changes.
        """
        if self._file is not None and self._file != _file_at(self.path):
            raise StoreError(f"the queue {self.path} was moved, removed or replaced while it was in use: start again")
        [(*last, form, moved_to, derived_by, reactive)] = self.run(_LOCKED_LOG)
        return LockedLog(None if last[0] is None else last, form, moved_to, derived_by, reactive)

    def _wait_for_disk(self, synchronous: str) -> None:
        if synchronous != self._synchronous:
            self.run(f"PRAGMA synchronous={synchronous}")
            self._synchronous = synchronous

    def commit(self, before: Head, after: Head, wakes: bool, meanwhile: Callable[[], None] | None = None) -> None:
        """Commit, and touch the wake file if the change `wakes` idle workers."""
        if meanwhile is None or self._synchronous != "FULL" or self.path == MEMORY:
            self.run("COMMIT")
        else:
            self._commit_thread().run(meanwhile)
        if wakes:
            with suppress(OSError):  # no worker has watched this file yet; workers also poll
                os.utime(self._wake_file)

    def _commit_thread(self) -> "CommitThread":
        if self._committer is None:
            from queuectl.store.sqlite.commit_thread import CommitThread

            # Takes no lock: the thread that waits for this one holds it.
            self._committer = CommitThread(lambda: self._execute("COMMIT"))
        return self._committer

    def roll_back(self) -> None:
        """Undo the open transaction. Does nothing when there is none."""
        if self.db.in_transaction:
            self.run("ROLLBACK")
        if self._sync_failed:
            self._empty_wal_or_mark()

    # ── meta ────────────────────────────────────────────────────────────────────────────────────────

    def meta(self) -> dict[str, Any]:
        """The rows of `meta`."""
        return dict(self.run("SELECT key, value FROM meta"))

    def set_meta(self, key: str, value: object) -> None:
        """Change a row of `meta`."""
        self.run(SET_META, (key, value))

    # ── the disk ────────────────────────────────────────────────────────────────────────────────────

    def last_on_disk(self) -> int | None:
        """The last position known to be on disk; None when no event is. Raises StoreError after a failed sync."""
        if self._sync_failed:
            why = "a sync of its disk has failed, and what its log ends with may not be there"
            raise StoreError(f"cannot tell how much of {self.path} is on disk: {why}")
        found = self.run(_LAST_SYNCED)
        return int(found[0][0]) if found else None

    def sync(self) -> bool:
        """Sync everything that is committed. A checkpoint syncs the whole -wal and blocks nobody.

        Returns False when that is not possible: another process writes, the file is read-only, or its disk is full.
        """
        if self.db.readonly("main"):
            return False
        if self._sync_failed:
            self._empty_wal()
        try:
            busy, pages, carried = self.run("PRAGMA wal_checkpoint(PASSIVE)")[0]
        except StoreError as error:
            if self._sync_failed:
                self._empty_wal_or_mark()
            if isinstance(error.__cause__, apsw.FullError):  # the database cannot grow
                return False
            raise
        return not busy and pages == carried

    def _note_failure(self, error: apsw.Error) -> None:
        """Remember an I/O error: a sync may have failed."""
        self._sync_failed = self._sync_failed or isinstance(error, apsw.IOError)

    def _empty_wal(self) -> None:
        """Empty the -wal after a failed sync. Raises StoreBusyError while another process reads from it."""
        if not self._sync_failed:
            return
        if self.run("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:
            raise StoreBusyError(f"{self.path} is being read, and its disk has failed: try again")
        self._wait_for_disk("FULL")
        with translated(self.path), self.db:
            # This writes a page even if its content stays the same. An UPDATE that changes nothing would write nothing.
            self.db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        self._sync_failed = False
        with suppress(OSError):
            os.unlink(self._marker)

    def _empty_wal_or_mark(self) -> None:
        """Empty the -wal at once, for other processes. If that fails, mark the failed sync on disk.

        The operating system does not report a failed sync to processes that open the file later.
        """
        with suppress(StoreError):
            self._empty_wal()
        if self._sync_failed:
            with suppress(OSError):
                os.close(os.open(self._marker, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    @property
    def _marker(self) -> str:
        return f"{self.path}.unsynced"

    # ── the connection ──────────────────────────────────────────────────────────────────────────────

    def changed(self) -> bool:
        """Whether another process has written since the last call."""
        with self.threads:
            seen, self._data_version = self._data_version, self._read_data_version()
            return seen != self._data_version

    def _read_data_version(self) -> int:
        return int(self.run("PRAGMA data_version")[0][0])

    def truncate_wal(self) -> None:
        """Write the whole -wal into the database file, so that the file alone is the queue."""
        self.run("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the connection. After a failed sync, first empty the -wal or leave the mark."""
        if self._opener.gone:
            return
        if self._sync_failed:
            self._empty_wal_or_mark()
        with translated(self.path):
            self.db.close()
        self._opener.closes()


class SqliteStorage:
    """Implements `sql.upkeep.Storage`: the database file as a whole."""

    def __init__(self, engine: SqliteEngine) -> None:
        self._engine = engine

    def is_read_only(self) -> bool:
        """Whether nothing can be written."""
        return self._engine.db.readonly("main")

    def damage(self) -> list[str]:
        """The damage that SQLite's own check finds, at most 20 lines."""
        try:
            with scanning(self._engine.db):
                found = [str(row[0]) for row in self._engine.run("PRAGMA quick_check(20)")]
        except StoreError as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def health(self) -> Iterable[HealthFinding]:
        """Returns nothing: a file has no statistics."""
        return ()

    def alone(self) -> AbstractContextManager[None]:
        """Lets one process at a time create or rebuild the tables; others wait."""
        return first_use(self._engine.path)

    def shadow_tables(self) -> "SqliteShadowTables":
        """Temporary tables for a rebuild."""
        from queuectl.store.sqlite.rebuild import SqliteShadowTables

        return SqliteShadowTables(self._engine.db, self._engine.path)

    def copy_to(self, path: str) -> None:
        """Write a consistent copy to a new file. It is created with mode 0600 first; SQLite would follow the umask."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            self._engine.db.execute("VACUUM INTO ?", (path,))
        except apsw.Error as error:
            with translated(path if getattr(error, "extendedresult", 0) in _WRITING else self._engine.path):
                raise
        finish_copy(path)


def _connected(path: str, busy_timeout: int, only_read: bool) -> tuple[apsw.Connection, tuple[int, int] | None]:
    """A connection and its file's identity. Connects again if the file was replaced meanwhile (by `recover`)."""
    while True:
        before = _file_at(path)
        db = connect(path, busy_timeout, only_read=only_read)
        if before in (None, found := _file_at(path)):
            return db, found
        db.close()


def _file_at(path: str) -> tuple[int, int] | None:
    """The file at a path, by device and inode; None for no file. Does not open it: see sqlite/connection.py.

    Raises StoreError for a file with two names: each name would have its own -wal, and they would overwrite each other.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    if found.st_nlink > 1 and stat.S_ISREG(found.st_mode):
        raise StoreError(
            f"the queue {path} has another name (a hard link), and changes under one name are lost under the other:"
            f" remove that name (`find / -xdev -samefile {path}` shows it), or use a copy"
        )
    return found.st_dev, found.st_ino
