"""Checks, repairs and copies of what is stored."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from queuectl.store.projections import VERSION
from queuectl.store.rows import ALL_STREAMS, Derived, Differences, HealthFinding, StreamRange
from queuectl.store.sql.engine import Engine
from queuectl.store.sql.log import Log
from queuectl.store.sql.writer import Writer

if TYPE_CHECKING:
    from queuectl.store.protocol import Derive, Inspect
    from queuectl.store.sql.rebuild import Rebuild, ShadowTables

__all__ = ["Storage", "Upkeep"]


class Storage(Protocol):
    """The files or the server's schema that an engine stores a queue in, as a whole."""

    def is_read_only(self) -> bool:
        """Whether nothing can be written."""

    def damage(self) -> list[str]:
        """The damage that the engine finds in its own files; empty when they are sound."""

    def health(self) -> Iterable[HealthFinding]:
        """Findings on the health of a server; none for a file."""

    def alone(self) -> AbstractContextManager[None]:
        """Only one process at a time creates or rebuilds the tables; others wait."""

    def shadow_tables(self) -> "ShadowTables":
        """Temporary tables for a rebuild."""


class Upkeep:
    """Implements `protocol.Upkeep`. `copy_to` writes a consistent copy of the queue to a new file.

    Other threads wait through the whole of each check, rebuild or copy, because it is more than one statement.
    """

    def __init__(
        self, engine: Engine, storage: Storage, log: Log, writer: Writer, copy_to: Callable[[str], None]
    ) -> None:
        self._engine, self._storage, self._log, self._writer = engine, storage, log, writer
        self._copy_to = copy_to

    def damage(self) -> list[str]:
        """The damage that the database engine finds in its own files; empty when they are sound."""
        with self._engine.threads:
            return self._storage.damage()

    def health(self) -> Iterable[HealthFinding]:
        """Findings on the health of a server, from its own statistics; none for a file."""
        with self._engine.threads:
            return list(self._storage.health())

    def derived(
        self, streams: StreamRange, until: int, unsound: Collection[str] = (), inspect: "Inspect | None" = None
    ) -> Iterator[Derived]:
        """Fold a range of streams; yields what the tables may not have. `inspect` receives every event."""
        from queuectl.store.sql.derived import derived

        return derived(self._log, self._engine, streams, until, unsound, inspect)

    def compare(self, derive: "Derive | None" = None) -> Differences:
        """Compare the tables with the log at one moment; without `derive` this process folds all streams."""
        with self._engine.threads:
            return self._new_rebuild().compare(derive or self._derived)

    def rebuild(self, derive: "Derive | None" = None) -> Differences:
        """Derive the tables again and correct the rows that differ, while other processes keep working."""
        with self._engine.threads:
            return self._new_rebuild().run(derive or self._derived)

    def copy_to(self, path: str) -> None:
        """Write a consistent copy of the queue to a new file, while other processes keep working."""
        with self._engine.threads:
            self._copy_to(path)

    def _derived(self, until: int, unsound: Collection[str]) -> Iterator[Derived]:
        return self.derived(ALL_STREAMS, until, unsound)

    def follow_this_version(self) -> None:
        """Rebuild tables that another version of queuectl derived: the first process does, the others wait for it."""
        with self._storage.alone():
            if self._engine.meta().get("projection_version") != VERSION:
                self.rebuild()

    def _new_rebuild(self) -> "Rebuild":
        from queuectl.store.sql.rebuild import Rebuild

        return Rebuild(self._log, self._writer, self._storage.shadow_tables())

    def quarantine(self, job_id: str) -> None:
        """Make a job unclaimable because its stream is damaged, and write the damage into its row."""
        self._writer.quarantine(job_id)

    def timeline(self, *, after: int = 0, until: int) -> Iterator[tuple[int, int, bytes]]:
        """Position, time and stream id (as bytes) of events, in order and unchecked."""
        return self._log.timeline(after, until)
