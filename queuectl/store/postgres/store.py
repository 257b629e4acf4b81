"""Opens a queue in a schema of a PostgreSQL server."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from queuectl.runtime import Clock, Reach, SystemClock
from queuectl.store.errors import ON_A_SERVER
from queuectl.store.options import StoreOptions
from queuectl.store.postgres.connection import Link
from queuectl.store.postgres.due_search import DueSearch
from queuectl.store.postgres.engine import PostgresEngine, PostgresStorage
from queuectl.store.protocol import Hints, Log
from queuectl.store.sql.assembly import EngineParts, OpenStore, assembled

__all__ = ["is_there", "open_postgres"]


def open_postgres(url: str, clock: Clock, options: StoreOptions, copy_to: Callable[[Log, str], None]) -> OpenStore:
    """The store at a postgresql:// URL; creates it if there is none. Raises StoreError.

    The clock is the server's, unless a test passes its own. `copy_to` writes a log to a new file.
    """
    engine = PostgresEngine(url, options.busy_timeout)
    if options.read_only:
        engine.run("SET default_transaction_read_only = on")
    search = DueSearch(engine.run)

    def prefix(meta: Mapping[str, Any]) -> str:
        """On this machine, by a name that the schema got when it was made, since logs can be copied."""
        return os.path.join(os.path.abspath(options.home or default_home()), meta["place"])

    def listen() -> Hints:
        engine.link.listen()
        return _Hints(engine)

    parts = EngineParts(
        engine,
        PostgresStorage(engine),
        copy_to,
        prefix,
        archivable=True,
        remedies=ON_A_SERVER,
        reach=Reach.SEVERAL_HOSTS,
        syncs_always=True,
        due_search=search,
        appended=search.add,
        listen=listen,
    )
    store = assembled(parts, engine.clock if isinstance(clock, SystemClock) else clock, options)
    engine.changed()  # other processes' writes count from here on
    return store


class _Hints:
    """Implements `protocol.Hints`. Looks at the connection only while no other thread uses it."""

    def __init__(self, engine: PostgresEngine) -> None:
        self._engine = engine

    def descriptor(self) -> int | None:
        """The descriptor that becomes readable with a hint; None while there is no connection."""
        return self._engine.link.descriptor()

    def heard(self) -> bool:
        """Whether a hint arrived, or the connection broke, since the last call."""
        with self._engine.threads:
            return self._engine.link.heard()


def is_there(url: str) -> bool:
    """Whether there is a queue at a postgresql:// URL."""
    link = Link(url, StoreOptions().busy_timeout, lambda link: None)
    try:
        return bool(link.run(f"SELECT to_regclass('{link.schema}.meta') IS NOT NULL")[0][0])
    finally:
        link.close()


def default_home() -> str:
    """The folder for the output files and the archive of a queue on a server: $QUEUECTL_HOME, or the user's state."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.environ.get("QUEUECTL_HOME") or os.path.join(state, "queuectl")
