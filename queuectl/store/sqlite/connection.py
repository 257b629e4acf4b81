"""Opens a SQLite database: checks its owner, sets the pragmas, creates the schema on first use, and translates errors.

No code anywhere may `open()` the database, -wal or -shm of a queue that this process has open: closing such a
descriptor would drop SQLite's POSIX locks (sqlite.org/howtocorrupt.html, 2.2).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import apsw

from queuectl.errors import DISK_FULL, StoreBusyError, StoreError, command_line
from queuectl.store.archive.segments import folder_of, lost, segments
from queuectl.store.fork_guard import check_inherited
from queuectl.store.meta import check_format, new_meta
from queuectl.store.sqlite.ownership import foreign, owned_by_another, read_only_because, unreadable

__all__ = [
    "APPLICATION_ID",
    "MEMORY",
    "SCAN_KIB",
    "check_library",
    "connect",
    "finish_copy",
    "first_use",
    "library_version",
    "refuse_strange",
    "scanning",
    "translated",
]

APPLICATION_ID = 0x5143544C
"""`QCTL`, in the database's header. Files of other programs are refused."""

MEMORY = ":memory:"
CACHE_KIB = 8_000
"""The page cache. A worker fills it with its first thousands of jobs, and is no faster with a larger one."""
SCAN_KIB = 2_000
"""The page cache for reading a whole queue once. Pages that are read once would only fill a larger one."""
_TO_WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
_FOR_ONE_THREAD = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOMUTEX
"""For commands and processes that only read, in one thread: SQLite's own locks would only cost time."""
JOURNAL_LIMIT = 64 * 1024 * 1024
STATEMENTS = 500
"""Prepared statements kept. apsw evicts those that were not used in so many uses of others: a busy worker's transaction
makes up to 150."""
CHECKPOINT_AFTER = 4000
"""Pages (16 MiB) in the -wal before a checkpoint. Each checkpoint costs two syncs of the disk."""


def connect(path: str, busy_timeout: int, *, only_read: bool = False) -> apsw.Connection:
    """An open, checked connection to the queue at `path` (absolute, or `:memory:`), which is created if it is missing.

    `busy_timeout` is in microseconds. `only_read`: no file is made or changed, and one thread at a time may use it.
    Raises StoreError or StoreBusyError.
    """
    check_library(apsw.sqlite_lib_version())
    refusal = None if path == MEMORY else foreign(path)
    if path != MEMORY:
        check_inherited(path)
        if not only_read:
            _make_file(path, refusal)
    with translated(path):
        if only_read:
            db = _unchanging(path) if _is_unused(path) else _open(path, _FOR_ONE_THREAD)
        else:
            db = _open(path, apsw.SQLITE_OPEN_READONLY if refusal else _TO_WRITE)
    try:
        _prepare(db, path, busy_timeout, SCAN_KIB if only_read else CACHE_KIB)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: apsw.Connection, path: str, busy_timeout: int, cache: int) -> None:
    """Set a new connection up, and check that the database is a queue of a format that we know."""
    with translated(path):
        db.set_busy_timeout(busy_timeout // 1000)
        _settle(db, cache)
        _identify(db, path)
        found = db.execute("SELECT value FROM meta WHERE key = 'format'").fetchall()
    check_format(found[0][0] if found else None, path)


def library_version() -> str:
    """The SQLite that we use."""
    return apsw.sqlite_lib_version()


def check_library(version: str) -> None:
    """Refuse SQLite libraries with the WAL-reset race, which corrupts databases (fixed in 3.51.3, 3.50.7, 3.44.6)."""
    numbers = tuple(map(int, version.split(".")))
    fixed = numbers >= (3, 51, 3) or (3, 50, 7) <= numbers < (3, 51) or (3, 44, 6) <= numbers < (3, 45)
    if not fixed or numbers[:2] == (3, 52):
        raise StoreError(f"SQLite {version} can corrupt databases (the WAL-reset race): pip install -U apsw")


def _make_file(path: str, refusal: str | None) -> None:
    """Create the folder (0700) and an empty file (0600) before SQLite opens it, so that the mode is never wider."""
    path.encode()  # raises UnicodeEncodeError before anything is made: SQLite takes UTF-8 only
    _refuse_folder(path)
    if not os.path.exists(path) and (lost_log := lost(path)) and not os.path.exists(path):
        raise lost_log  # the file is looked up again: another process may have created it meanwhile
    if refusal is not None and not os.path.exists(path):
        raise StoreError(refusal)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"cannot make the queue {path}: {error.strerror}{owned_by_another(path)}") from error


def _refuse_folder(path: str) -> None:
    if os.path.isdir(path):
        raise StoreError(f"{path} is a folder, not a queue's database")


def refuse_strange(path: str) -> None:
    """Raises StoreError for a folder, and for a file that clearly is another program's database. Writes nothing.

    A database with a log in it is ours, whatever its header says. A file that cannot be read may be anyone's.
    """
    _refuse_folder(path)
    with suppress(apsw.Error, UnicodeError), closing(_unchanging(path)) as db:
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_schema")}
        if tables and not tables.issuperset(_OF_THE_LOG) and _value(db, "PRAGMA application_id") != APPLICATION_ID:
            raise StoreError(_anothers(path))


def _anothers(path: str) -> str:
    return f"{path} is another program's SQLite database, not a queue"


def _open(path: str, flags: int) -> apsw.Connection:
    if _is_still(path):
        # SQLite needs a folder for its -shm. Without one it reads a WAL database only if we declare it unchanging.
        return _unchanging(path)
    try:
        return apsw.Connection(path, flags=flags, statementcachesize=STATEMENTS)
    except (apsw.CantOpenError, apsw.ReadOnlyError):
        return apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)


def _unchanging(path: str) -> apsw.Connection:
    from urllib.parse import quote  # not needed by the processes that share a check, and takes 2 ms

    return apsw.Connection(f"file:{quote(path)}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)


def _is_unused(path: str) -> bool:
    """Whether no process has the queue open: to read it as one that changes would make a -shm."""
    return path != MEMORY and not os.path.exists(f"{path}-shm")


def _is_still(path: str) -> bool:
    """Whether the queue is on a disk that cannot be written to, with nothing in its -wal."""
    if path == MEMORY or os.access(os.path.dirname(path), os.W_OK):
        return False
    return os.path.exists(path) and not os.path.exists(f"{path}-wal")


def _settle(db: apsw.Connection, cache: int) -> None:
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)
    db.execute(
        "PRAGMA mmap_size=0; PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF; PRAGMA synchronous=FULL;"
        f"PRAGMA journal_size_limit={JOURNAL_LIMIT}; PRAGMA wal_autocheckpoint={CHECKPOINT_AFTER}"
    ).fetchall()  # a pragma with an answer blocks those after it until the answer is read
    db.pragma("cache_size", -cache)


def _identify(db: apsw.Connection, path: str) -> None:
    """Make an empty file a queue. Refuse another program's file."""
    if _value(db, "PRAGMA application_id") == APPLICATION_ID:
        return
    refusal = lost(path)
    with first_use(path):
        owner = _value(db, "PRAGMA application_id")
        empty = _value(db, "SELECT count(*) FROM sqlite_schema") == 0
        if owner == 0 and empty and not db.readonly("main"):
            if refusal:
                raise refusal
            _create(db)
        elif owner != APPLICATION_ID:
            raise StoreError(_anothers(path))


@contextmanager
def first_use(path: str) -> Iterator[None]:
    """Lets one process at a time create the schema or rebuild the tables. Locks the folder: no lock file is left."""
    if path == MEMORY:
        yield
        return
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _create(db: apsw.Connection) -> None:
    from queuectl.store.sql.schema import SCHEMA

    if _value(db, "PRAGMA journal_mode=WAL") not in ("wal", "memory"):  # when the disk is full this raises no error
        raise apsw.IOError("it cannot be given a -wal")
    db.execute(f"BEGIN IMMEDIATE; PRAGMA application_id={APPLICATION_ID};" + SCHEMA)
    db.executemany("INSERT INTO meta VALUES (?, ?)", list(new_meta().items()))
    db.execute("COMMIT")


@contextmanager
def scanning(db: apsw.Connection) -> Iterator[None]:
    """The page cache is small meanwhile, because pages are read once."""
    usual = db.pragma("cache_size", schema="main")
    db.pragma("cache_size", -SCAN_KIB, schema="main")
    try:
        yield
    finally:
        db.pragma("cache_size", usual, schema="main")


def finish_copy(path: str) -> None:
    """Take the workers, who serve the original, out of a copy, and give it the WAL journal mode, which it lacks."""
    with translated(path):
        copy = apsw.Connection(path)
        if copy.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'workers'").fetchall():
            copy.execute("DELETE FROM workers")
        copy.execute("PRAGMA journal_mode=WAL")
        copy.close()


def _value(db: apsw.Connection, sql: str) -> object:
    return db.execute(sql).fetchall()[0][0]


_OF_THE_LOG = ("events", "meta")
_MEANINGS: dict[type[apsw.Error], str] = {
    apsw.FullError: DISK_FULL,
    apsw.CorruptError: "it is damaged",
    apsw.PermissionsError: "permission denied",
}


def _of_tables(what: str) -> str:
    """A table that can be derived again is for `rebuild`, one of the log's own for `recover`."""
    _, missing, table = what.partition("no such table: ")
    if not missing:
        return what
    return f"{what}: run `{command_line('recover' if table.removeprefix('main.') in _OF_THE_LOG else 'rebuild')}`"


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn SQLite's errors into ours: one line that names the queue and what is wrong."""
    try:
        yield
    except (apsw.BusyError, apsw.LockedError) as error:
        raise StoreBusyError(f"{path} is locked by another process: try again") from error
    except apsw.ReadOnlyError as error:
        raise StoreError(foreign(path) or f"cannot use the queue {path}: {read_only_because(path)}") from error
    except apsw.NotADBError as error:
        raise StoreError(f"cannot use the queue {path}: {_not_a_database(path)}") from error
    except apsw.CantOpenError as error:
        raise StoreError(unreadable(path) or f"cannot use the queue {path}: it cannot be opened") from error
    except apsw.Error as error:
        kind = apsw.FullError if isinstance(error, apsw.IOError) and _is_full(path) else type(error)
        meaning = _MEANINGS.get(kind) or _of_tables(str(error))
        advice = f": run `{command_line('recover')}`" if kind is apsw.CorruptError else ""
        raise StoreError(f"cannot use the queue {path}: {meaning}{advice}") from error


def _not_a_database(path: str) -> str:
    """A file that an archive belongs to was a queue. Another may be a mistake in --db."""
    repair = f"run `{command_line('recover')}`"
    with suppress(OSError):
        if segments(folder_of(path)):
            return f"it is damaged (a SQLite database begins otherwise): {repair}"
    return f"it is not a SQLite database: name another file with --db, or, if it was a queue, {repair}"


def _is_full(path: str) -> bool:
    """Whether an operation failed because the disk is full. SQLite reports that only for files, not for its -shm."""
    try:
        return os.statvfs(os.path.dirname(path)).f_bavail == 0
    except OSError:
        return False
