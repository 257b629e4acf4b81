"""The files that belong to a queue, and where its log continues."""

import os

from queuectl.runtime import Reach
from queuectl.store.archive.archive import Archive
from queuectl.store.archive.sync import ArchiveSync
from queuectl.store.errors import Remedies
from queuectl.store.sql.engine import Engine

__all__ = ["Location", "wake_file_in"]


def wake_file_in(output_folder: str) -> str:
    """The file that a writer touches when there is something to do for an idle worker."""
    return os.path.join(output_folder, ".wake")


class Location:
    """Implements `protocol.Location`."""

    def __init__(
        self, engine: Engine, output_folder: str, sync: ArchiveSync | None, remedies: Remedies, reach: Reach
    ) -> None:
        self._engine, self._sync = engine, sync
        self.output_folder, self.wake_file = output_folder, wake_file_in(output_folder)
        self.remedies, self.reach = remedies, reach

    @property
    def archive(self) -> Archive | None:
        """The log's copy outside the database; None when the queue has no archive."""
        return self._sync.archive if self._sync is not None else None

    @property
    def moved_to(self) -> str | None:
        """The place where the log continues after a migration (this store is then read-only), or None."""
        found = self._engine.run("SELECT value FROM meta WHERE key = 'moved_to'")
        return found[0][0] if found else None
