"""Deriving the tables again: when someone asks, and by itself when another version derived them."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from queuectl.errors import StoreError
from queuectl.store.projections import VERSION
from queuectl.store.protocol import Inspect
from queuectl.store.sql.log_reader import ExaminedLog
from queuectl.store.stream_fold import lives
from queuectl.store.table_diff import Differences

if TYPE_CHECKING:
    from queuectl.store.sql.shadow import Shadow

__all__ = ["RebuiltTables"]


class RebuiltTables(ExaminedLog):
    """The part of a store that derives its tables again."""

    _rebuilds = False

    @abstractmethod
    def _new_shadow(self) -> "Shadow":
        """An empty one."""

    @abstractmethod
    def _first_use(self) -> AbstractContextManager[None]:
        """Only one process at a time creates or rebuilds the tables."""

    @abstractmethod
    def _is_read_only(self) -> bool:
        """Whether nothing can be written."""

    @abstractmethod
    def _meta(self) -> dict[str, Any]:
        """What stands in `meta`."""

    @contextmanager
    def _shadow(self) -> "Iterator[Shadow]":
        shadow = self._new_shadow()
        try:
            yield shadow
        finally:
            shadow.close()

    def compare(self, inspect: Inspect | None = None) -> Differences:
        """See the protocol."""
        with self._shadow() as shadow:
            shadow.fold(inspect)
            return shadow.compare()

    def rebuild(self, inspect: Inspect | None = None) -> Differences:
        """See the protocol."""
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
        """A damaged one is nobody's, its key is free, and its error is what is wrong: `quarantined`."""
        with self.transaction():
            self._run("UPDATE jobs SET due_at = NULL, next_run_at = NULL WHERE id = ?", (job_id,))
            for damage in [life.damage for life in lives(self.examined(stream_id=job_id)) if life.damage]:
                self._run(
                    "UPDATE jobs SET unique_key = NULL, locked_by = NULL, locked_at = NULL, last_error = ?"
                    " WHERE id = ?",
                    (damage.for_tables, job_id),
                )

    def _follow_this_version(self, derived_by: object) -> None:
        """Tables of another version are derived again by the first process that comes; others wait for it."""
        if derived_by == VERSION or self._is_read_only():
            return
        with self._first_use():
            if self._meta().get("projection_version") != VERSION:
                self.rebuild()

    def _check_version(self, derived_by: object) -> None:
        """Refuse to write next to another version, whose tables have another form."""
        if derived_by != VERSION and not self._rebuilds:
            raise StoreError(f"another version of queuectl has taken over {self.path}: start this one again")
