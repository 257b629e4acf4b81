"""Assembles a store from its parts: the one place where they are wired together, for every engine."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from queuectl.config import Config
from queuectl.domain.job import Job
from queuectl.errors import StoreError
from queuectl.runtime import Clock, Reach
from queuectl.store.archive.sync import ArchivePlace, ArchiveSync
from queuectl.store.errors import Remedies
from queuectl.store.options import StoreOptions
from queuectl.store.projections import VERSION
from queuectl.store.sql.engine import Engine
from queuectl.store.sql.location import Location
from queuectl.store.sql.log import Log
from queuectl.store.sql.tables import DueSearch, Tables
from queuectl.store.sql.workers import Workers
from queuectl.store.sql.writer import Writer

if TYPE_CHECKING:
    from queuectl.store.protocol import Hints
    from queuectl.store.sql.batches import Batches
    from queuectl.store.sql.history import History
    from queuectl.store.sql.schedules import Schedules
    from queuectl.store.sql.upkeep import Storage, Upkeep
    from queuectl.store.sql.waits_reader import WaitsReader

__all__ = ["EngineParts", "OpenStore", "assembled"]


class EngineParts(Struct, frozen=True, eq=False):
    """The objects and facts that differ between engines.

    `copy_to` writes a log to a new file. `prefix`, given the rows of `meta`, is how the paths of the output folder and
    the archive begin. `appended` and `due_search` are PostgreSQL's search for due jobs, `listen` its notifications.
    `syncs_always`: no commit is faster without a sync.
    """

    engine: Engine
    storage: "Storage"
    copy_to: Callable[[Log, str], None]
    prefix: Callable[[Mapping[str, Any]], str]
    archivable: bool
    remedies: Remedies
    reach: Reach = Reach.ONE_HOST
    syncs_always: bool = False
    due_search: DueSearch | None = None
    appended: Callable[[Sequence[Job | None]], None] | None = None
    listen: Callable[[], "Hints | None"] = lambda: None


class OpenStore(Struct, frozen=True, eq=False, dict=True):
    """Implements `protocol.Store`. The parts that only some commands read are made, and loaded, when one asks."""

    log: Log
    writer: Writer
    tables: Tables
    workers: Workers
    location: Location
    parts: EngineParts
    sync: ArchiveSync | None

    @property
    def engine(self) -> Engine:
        """Runs the statements."""
        return self.parts.engine

    @cached_property
    def upkeep(self) -> "Upkeep":
        """Checks, repairs and copies what is stored."""
        from queuectl.store.sql.upkeep import Upkeep

        parts = self.parts
        return Upkeep(parts.engine, parts.storage, self.log, self.writer, lambda path: parts.copy_to(self.log, path))

    @cached_property
    def history(self) -> "History":
        """Answers questions about the whole log."""
        from queuectl.store.sql.history import History

        return History(self.engine, self.log)

    @cached_property
    def batches(self) -> "Batches":
        """Reads the batches of jobs."""
        from queuectl.store.sql.batches import Batches

        return Batches(self.engine)

    @cached_property
    def schedules(self) -> "Schedules":
        """Reads the table of schedules."""
        from queuectl.store.sql.schedules import Schedules

        return Schedules(self.engine)

    @cached_property
    def waits(self) -> "WaitsReader":
        """Reads the dependencies of the jobs that wait for others."""
        from queuectl.store.sql.waits_reader import WaitsReader

        return WaitsReader(self.engine)

    def close(self) -> None:
        """Close the store. A second call does nothing."""
        with self.engine.threads:
            if self.sync is not None:
                self.sync.close()
            self.engine.close()


def assembled(parts: EngineParts, clock: Clock, options: StoreOptions) -> OpenStore:
    """The store on an engine that is connected, with tables of this version, compared with its archive.

    Raises StoreError, and then the engine is closed.
    """
    try:
        meta = parts.engine.meta()
        store = _wired(parts, meta, clock, options)
    except BaseException:
        parts.engine.close()
        raise
    try:
        _bring_up_to_date(store, is_old=meta.get("projection_version") != VERSION)
    except BaseException:
        store.close()
        raise
    return store


def _wired(parts: EngineParts, meta: Mapping[str, Any], clock: Clock, options: StoreOptions) -> OpenStore:
    engine = parts.engine
    log = Log(engine, clock, parts.remedies)
    log.identify(meta)
    tables = Tables(engine, parts.due_search)
    durability = _durability(parts, tables, options)
    prefix = parts.prefix(meta)
    sync = None
    if parts.archivable and options.archived:
        place = ArchivePlace(engine.path, prefix, options.archive_dir, parts.remedies)
        sync = ArchiveSync(log, place, options.warn)
    writer = Writer(engine, log, durability, sync, parts.appended)
    workers = Workers(engine, writer, parts.listen)
    location = Location(engine, f"{prefix}.output", sync, parts.remedies, parts.reach)
    return OpenStore(log, writer, tables, workers, location, parts, sync)


def _bring_up_to_date(store: OpenStore, *, is_old: bool) -> None:
    """Rebuild tables that another version derived (`is_old`), and add the events that only the archive has."""
    if (is_old or store.sync is not None) and not store.parts.storage.is_read_only():
        if is_old:
            store.upkeep.follow_this_version()
        if store.sync is not None:
            store.sync.compare(store.writer)


def _durability(parts: EngineParts, tables: Tables, options: StoreOptions) -> str:
    """The durability that was asked for, else that of `config set`, else the default.

    A table of settings that is corrupt counts as empty: `rebuild` repairs it.
    """
    settings = Config({"durability": options.durability}, {}, {}, tables.settings, options.warn)
    try:
        asked = str(settings["durability"])
    except StoreError:
        asked = str(Config({}, {}, {}, dict)["durability"])
    return "safe" if asked == "fast" and parts.syncs_always else asked
