"""What a store lends to the parts that it is made of: how its SQL is run, its lock, and where its log stands."""

from _thread import RLock
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from queuectl.domain.job import Job
from queuectl.store.protocol import Head, StoredEvent
from queuectl.store.sql.dialect import Dialect

__all__ = ["Lent"]


class Lent(ABC):
    """`path` is what messages call the store. `_waking`: the open transaction gives idle workers something to do."""

    _dialect: ClassVar[Dialect]

    path: str
    spans_hosts: bool
    _base: Head
    _threads: RLock
    """Held through each statement, and through a transaction with its copy to the archive: threads take turns."""
    _locked_head: Head | None = None
    _adopted = False
    _waking = False

    @abstractmethod
    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows. Raises StoreError."""

    @abstractmethod
    def _insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row, by the next `_settle` at the latest.

        Then, or when any other statement is run, VersionConflictError is raised when a key is taken.
        """

    @abstractmethod
    def _insert_new(self, sql: str, rows: Sequence[Sequence[Any]]) -> bool:
        """Insert rows; False when the key of any is taken. Those that were not may be in the table then."""

    @abstractmethod
    def transaction(self, *, durable: bool = True) -> AbstractContextManager[None]:
        """See the protocol."""

    @abstractmethod
    def head(self) -> Head:
        """See the protocol."""

    @abstractmethod
    def version(self, stream_id: str) -> int:
        """See the protocol."""

    @abstractmethod
    def load(self, job_id: str) -> Job | None:
        """See the protocol."""

    @abstractmethod
    def hold(self, job_id: str) -> None:
        """See the protocol."""

    @abstractmethod
    def _insert_events(self, rows: Sequence[StoredEvent]) -> None:
        """Insert rows into the log. Raises VersionConflictError when a version is taken."""

    @abstractmethod
    def _become_what_meta_says(self) -> None:
        """Whose log this is, and so which archive is its own."""

    @abstractmethod
    def _set_meta(self, key: str, value: object) -> None:
        """Change a row of `meta`."""

    @abstractmethod
    def _refuse_diverged(self) -> None:
        """Refuse to write to a database that has diverged from its archive."""
