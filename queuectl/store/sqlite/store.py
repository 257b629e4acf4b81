"""The event log and its projections in one SQLite file, through apsw."""

import os
from _thread import RLock
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

import apsw

from queuectl.errors import StoreBusyError, StoreError, command_line
from queuectl.runtime import Clock
from queuectl.store.archive.archive import Keeping
from queuectl.store.fork_guard import Opener
from queuectl.store.meta import check_format, check_place
from queuectl.store.protocol import Head, NoTextError, Sign, VersionConflictError
from queuectl.store.sql.dialect import SQLITE
from queuectl.store.sql.log_writer import AppendedLog, Keep, head_of
from queuectl.store.sqlite.connection import (
    APPLICATION_ID,
    MEMORY,
    connect,
    file_at,
    first_use,
    set_wal_mode,
    translated,
)

if TYPE_CHECKING:
    from queuectl.store.sqlite.rebuild import SqliteShadow

__all__ = ["SqliteStore"]

_HEAD_AND_FORMAT = """
SELECT position, digest, recorded_at,
       (SELECT value FROM meta WHERE key = 'format'), (SELECT value FROM meta WHERE key = 'moved_to'),
       (SELECT value FROM meta WHERE key = 'projection_version')
FROM (SELECT 1) LEFT JOIN (SELECT position, digest, recorded_at FROM events ORDER BY position DESC LIMIT 1)
"""
_TAKEN = (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_TRIGGER)

_WRITING = (apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_TRUNCATE)
"""What only the file that is written fails with, where another one is read."""


class SqliteStore(AppendedLog):
    """See the protocol."""

    spans_hosts = False
    _dialect = SQLITE

    def __init__(
        self, path: str, clock: Clock, busy_timeout: int = 10_000_000, keep: Keep = lambda stored: Keeping()
    ) -> None:
        self._threads = RLock()
        self.path = path
        self._opener = Opener(path)
        self._db, self._file = _connected(path, busy_timeout)
        self._synchronous = "FULL"
        self._doubtful = os.path.exists(self._mark)
        if self._doubtful:  # before anything that is only in the -wal is taken for what is on the disk
            self._close_hole()
        self._open_up(clock, keep)
        self._data_version = self._read_data_version()

    # ── where things are ────────────────────────────────────────────────────────────────────────────

    def _meta(self) -> dict[str, Any]:
        return dict(self._run("SELECT key, value FROM meta"))

    def _set_meta(self, key: str, value: object) -> None:
        self._run("UPDATE meta SET value = ? WHERE key = ?", (value, key))

    def _file_prefix(self, meta: dict[str, Any]) -> str | None:
        return None if self.path == MEMORY else self.path

    @property
    def output_folder(self) -> str:
        """See the protocol."""
        return f"{self.path}.output"

    def hints(self) -> None:
        """See the protocol."""

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────

    def _in_transaction(self) -> bool:
        self._opener.check()
        try:
            return self._db.in_transaction
        except apsw.ConnectionClosedError as error:
            raise StoreError(f"the queue {self.path} is closed") from error

    def _begin(self, durable: bool) -> None:
        self._leave_no_hole()
        self._wait_for_disk("FULL" if durable and self._keeping.durability != "fast" else "NORMAL")
        self._run("BEGIN IMMEDIATE")

    def _wait_for_disk(self, synchronous: str) -> None:
        if synchronous != self._synchronous:
            self._run(f"PRAGMA synchronous={synchronous}")
            self._synchronous = synchronous

    def _leave_no_hole(self) -> None:
        """After a failed sync, reset the -wal before anything is appended to it.

        Linux does not try again to write what a failed fsync was about, and calls the next one a success. What was in
        the -wal without having been synced (claims) may so be a hole, and everything behind it gone with the power.
        """
        if not self._doubtful:
            return
        if self._run("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:
            raise StoreBusyError(f"{self.path} is being read, and its disk has failed: try again")
        self._wait_for_disk("FULL")
        with translated(self.path), self._db:
            # Writes its page although nothing is new in it; an UPDATE that changes nothing writes nothing.
            self._db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        self._doubtful = False
        with suppress(OSError):
            os.unlink(self._mark)

    def _note_failure(self, error: apsw.Error) -> None:
        """A sync may have been what failed."""
        self._doubtful = self._doubtful or isinstance(error, apsw.IOError)

    def _close_hole(self) -> None:
        """At once, for those who append next; and again before this store does."""
        with suppress(StoreError):
            self._leave_no_hole()
        if self._doubtful:
            self._tell_the_next()

    @property
    def _mark(self) -> str:
        return f"{self.path}.unsynced"

    def _tell_the_next(self) -> None:
        """Mark the failed sync on disk: the system does not report it to later openers."""
        with suppress(OSError):
            os.close(os.open(self._mark, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    def _checked_head(self) -> Head:
        """In one question."""
        self._check_file()
        found = self._run(_HEAD_AND_FORMAT)
        check_format(found[0][3], self.path)
        check_place(found[0][4], self.path)
        self._check_version(found[0][5])
        return head_of(found[0][:3]) if found[0][0] is not None else self._base

    def _check_file(self) -> None:
        """Refuse to write to a file that is no longer the one at its path alone: nobody would ever see it."""
        if self._file is not None and self._file != file_at(self.path):
            raise StoreError(f"the queue {self.path} was moved, removed or replaced while it was in use")

    def _commit(self, before: Head, after: Head) -> None:
        self._run("COMMIT")
        if self._waking:
            self._wake()

    def _wake(self) -> None:
        try:
            os.utime(self.wake_file)
        except OSError:
            return  # no worker has ever watched it; a hint, the workers' poll is the truth

    def take_long(self) -> None:
        """See the protocol. Nobody ends it."""

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._run("ROLLBACK")
        self._close_hole()

    def _insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """A taken (stream, version) or unique key means that someone was faster."""
        try:
            if len(rows) == 1:
                self._db.execute(sql, rows[0])
            else:
                self._db.executemany(sql, rows)
        except OverflowError as error:
            raise StoreError(f"a number is too large for {self.path}: 64 bits are what it holds") from error
        except apsw.ConstraintError as error:
            if getattr(error, "extendedresult", 0) in _TAKEN:
                raise VersionConflictError(str(error)) from error
            with translated(self.path):
                raise
        except apsw.Error as error:
            self._note_failure(error)  # a new -wal is synced where its first pages do not fit into memory
            with translated(self.path):
                raise

    def _settle(self) -> None:
        """Nothing waits."""

    def _insert_new(self, sql: str, rows: Sequence[Sequence[Any]]) -> bool:
        try:
            self._insert(sql, rows)
        except VersionConflictError:
            return False
        return True

    def copy_to(self, path: str) -> None:
        """The empty file is there before SQLite writes to it: its own would be as wide as the umask."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            self._db.execute("VACUUM INTO ?", (path,))
        except apsw.Error as error:
            with translated(path if getattr(error, "extendedresult", 0) in _WRITING else self.path):
                raise
        set_wal_mode(path)

    def settle(self) -> None:
        """Carry the whole -wal over, so that the file alone is the queue."""
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────

    def flaws(self) -> list[str]:
        """See the protocol."""
        try:
            found = [str(row[0]) for row in self._run("PRAGMA quick_check(20)")]
        except StoreError as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def signs(self) -> Iterable[Sign]:
        """See the protocol."""
        return ()

    def bring_to_disk(self) -> int:
        """See the protocol. A checkpoint syncs the whole -wal before it carries anything over, and holds nobody up.

        After a failed sync the -wal is reset first: see `_leave_no_hole`.
        """
        if self._db.readonly("main"):
            return self.on_disk()
        self._leave_no_hole()
        head = self.head().position
        try:
            busy, pages, carried = self._run("PRAGMA wal_checkpoint(PASSIVE)")[0]
        except StoreError as error:
            self._close_hole()
            if isinstance(error.__cause__, apsw.FullError):  # the database cannot grow: what is known stays known
                return self.on_disk()
            raise
        return head if not busy and pages == carried else self.on_disk()

    def on_disk(self) -> int:
        """See the protocol. A commit whose sync failed may be in the log of whoever opens the queue next."""
        if self._doubtful:
            why = "a sync of its disk has failed, and what its log ends with may not be there"
            raise StoreError(f"cannot tell how much of {self.path} is on disk: {why}")
        return super().on_disk()

    def changed(self) -> bool:
        """See the protocol."""
        with self._threads:
            seen, self._data_version = self._data_version, self._read_data_version()
            return seen != self._data_version

    def _read_data_version(self) -> int:
        return int(self._run("PRAGMA data_version")[0][0])

    # ── deriving the tables again ───────────────────────────────────────────────────────────────────

    def _new_shadow(self) -> "SqliteShadow":
        from queuectl.store.sqlite.rebuild import SqliteShadow

        return SqliteShadow(self._db, self.path, self)

    def _first_use(self) -> AbstractContextManager[None]:
        return first_use(self.path)

    def _is_read_only(self) -> bool:
        return self._db.readonly("main")

    # ── the connection ──────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """See the protocol. After a failed sync, it first resets the -wal or writes the `.unsynced` marker."""
        with self._threads:
            if self._opener.gone:
                return
            if self._doubtful:
                self._close_hole()
            if self._keeper is not None:
                self._keeper.close()
            with translated(self.path):
                self._db.close()
            self._opener.closes()

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self._opener.check()
        try:
            with self._threads:
                return self._db.execute(sql, parameters).fetchall()
        except apsw.ConnectionClosedError as error:
            raise StoreError(f"the queue {self.path} is closed") from error
        except UnicodeDecodeError as error:
            raise NoTextError(f"{self.path} holds bytes that are no text: run `{command_line('rebuild')}`") from error
        except apsw.Error as error:
            self._note_failure(error)
            with translated(self.path):
                raise


def _connected(path: str, busy_timeout: int) -> tuple[apsw.Connection, tuple[int, int] | None]:
    """A connection, and the file that it is to: one that came there meanwhile (see `recover`) is not what is open."""
    while True:
        before = file_at(path)
        db = connect(path, busy_timeout)
        if before in (None, found := file_at(path)):
            return db, found
        db.close()
