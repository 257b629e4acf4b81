"""Opens a queue in a SQLite file, or in memory."""

from typing import TYPE_CHECKING

from queuectl.runtime import Clock, SystemClock
from queuectl.store.errors import IN_A_FILE
from queuectl.store.options import StoreOptions
from queuectl.store.sql.assembly import EngineParts, OpenStore, assembled
from queuectl.store.sqlite.connection import MEMORY
from queuectl.store.sqlite.engine import SqliteEngine, SqliteStorage

if TYPE_CHECKING:
    from queuectl.store.protocol import Log

__all__ = ["copy_log", "open_sqlite"]


def open_sqlite(path: str, clock: Clock, options: StoreOptions) -> OpenStore:
    """The store in the file at `path` (absolute, or `:memory:`); creates it if there is none. Raises StoreError."""
    engine = SqliteEngine(path, options.busy_timeout, only_read=options.read_only)
    if options.read_only:
        engine.run("PRAGMA query_only=ON")
    return _assembled(engine, clock, options)


def copy_log(log: "Log", path: str) -> None:
    """Write the log of another store to a new SQLite file: the same events, the same head."""
    engine = SqliteEngine(path, StoreOptions().busy_timeout)
    copy = _assembled(engine, SystemClock(), StoreOptions(archived=False))
    try:
        with copy.writer.transaction():
            copy.writer.adopt(log.log_id, log.base)
            copy.writer.append_stored(log.stored())
        engine.truncate_wal()
    finally:
        copy.close()


def _assembled(engine: SqliteEngine, clock: Clock, options: StoreOptions) -> OpenStore:
    storage = SqliteStorage(engine)
    parts = EngineParts(
        engine,
        storage,
        copy_to=lambda log, path: storage.copy_to(path),
        prefix=lambda meta: engine.path,
        archivable=engine.path != MEMORY,
        remedies=IN_A_FILE,
    )
    return assembled(parts, clock, options)
