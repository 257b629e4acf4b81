"""Deriving the tables again: when someone asks, and by itself when another version derived them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import apsw

from queuectl.errors import StoreError
from queuectl.store.base import Inspect
from queuectl.store.connection import first_use
from queuectl.store.differences import Differences
from queuectl.store.examining import ExaminedLog
from queuectl.store.lives import lives
from queuectl.store.projections import VERSION

if TYPE_CHECKING:
    from queuectl.store.shadow import Shadow

__all__ = ["RebuiltTables"]


class RebuiltTables(ExaminedLog):
    """The part of a SQLite store that derives its tables again; it lends `path`, `_db` and `transaction`."""

    path: str
    _db: apsw.Connection
    _rebuilds = False

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[None]:
        """See EventStore."""
        raise NotImplementedError

    @contextmanager
    def _shadow(self) -> "Iterator[Shadow]":
        from queuectl.store.shadow import Shadow

        shadow = Shadow(self._db, self.path, self)
        try:
            yield shadow
        finally:
            shadow.close()

    def compare(self, inspect: Inspect | None = None) -> Differences:
        """See EventStore."""
        with self._shadow() as shadow:
            shadow.fold(inspect)
            return shadow.compare()

    def rebuild(self, inspect: Inspect | None = None) -> Differences:
        """See EventStore."""
        with self._shadow() as shadow:
            shadow.fold(inspect)
            found = shadow.compare()
            self._rebuilds = True
            try:
                with self.transaction():
                    shadow.swap()
            finally:
                self._rebuilds = False
            return found

    def hold(self, job_id: str) -> None:
        """See EventStore. As a rebuild would: with what is wrong for its error."""
        with self.transaction():
            damage = next((str(life.damage) for life in lives(self.examined(stream_id=job_id)) if life.damage), None)
            self._run(
                "UPDATE jobs SET due_at = NULL, next_run_at = NULL, last_error = coalesce(?, last_error) WHERE id = ?",
                (damage, job_id),
            )

    def _follow_this_version(self, derived_by: object) -> None:
        """Tables of another version are derived again by the first process that comes; others wait for it."""
        if derived_by == VERSION or self._db.readonly("main"):
            return
        with first_use(self.path):
            if self._run("SELECT value FROM meta WHERE key = 'projection_version'") != [(VERSION,)]:
                self.rebuild()

    def _check_version(self, derived_by: object) -> None:
        """Refuse to write beside another version, which keeps its tables otherwise."""
        if derived_by != VERSION and not self._rebuilds:
            raise StoreError(f"another version of queuectl has taken over {self.path}: start this one again")
