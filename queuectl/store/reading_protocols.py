"""The store's protocols that only read: the log's history, and the tables of batches, schedules and waits."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Protocol

from queuectl.domain.events import RecordedEvent
from queuectl.store.errors import DamagedEventError
from queuectl.store.rows import MAX_POSITION, BatchCount, Count, JobFilter, LastMove, RunStep, Waiting, WaitRow

if TYPE_CHECKING:
    from queuectl.domain.schedule import Schedule

__all__ = ["Batches", "History", "Schedules", "Unchanged", "Waits"]


class History(Protocol):
    """Answers questions about the whole log: runs, ids of jobs, notes, and the last move of each job."""

    def run_steps(self, types: Collection[str], *, after: int, until: int) -> Iterator[RunStep]:
        """Events of these types with `after < position <= until`, in order; bytes that are not text are left out."""

    def streams(self, prefix: str, limit: int, until: int | None = None) -> list[str]:
        """Ids of jobs (also purged) that begin with `prefix` and existed at position `until` (None: now)."""

    def ending(self, suffix: str, limit: int, until: int | None = None) -> list[str]:
        """Ids of jobs (also purged) that end with `suffix` and existed at position `until` (None: now)."""

    def notes(self, prefix: str, until: int) -> list[RecordedEvent | DamagedEventError]:
        """Events up to a position of our own streams (`$…`) whose ids begin with `prefix`, in the order of the log."""

    def last_moves(self, until: int, *, added: bool = False, after: int = 0, end: int = MAX_POSITION) -> list[LastMove]:
        """The last move of jobs (also purged) up to a position, in the order of enqueueing. Unchecked.

        Of the jobs that have an event with `after < position <= end`, or that wait for others now; with `added` of
        those that were added by such an event.
        """

    def right_again(self, after: int, now: int, until: int = MAX_POSITION) -> tuple[int, int]:
        """Position and clock of the first event after `after`, up to `until`, whose clock was not ahead of `now`.

        Only while the log is ahead of `now`. `now` is returned as the clock if there is no event.
        """

    def unchanged(self, position: int) -> "Unchanged":
        """The jobs that no event has changed since a position."""


class Unchanged(Protocol):
    """Reads in the live tables the jobs that no event has changed since a position, except those that wait."""

    def ids(self, wanted: JobFilter) -> list[str]:
        """Ids of these jobs that the filter selects, as `Tables.ids`."""

    def counts(self) -> tuple[list[Count], int]:
        """These jobs per queue and state, and the log's end when they were counted."""

    def first_due(self, limit: int) -> list[str]:
        """Of each queue and priority the ids of the pending ones that are due first."""

    def in_batches(self) -> list[str]:
        """Ids of these jobs that are in a batch."""

    def purged(self, batch: str) -> list[str]:
        """Ids of the purged jobs of a batch."""


class Batches(Protocol):
    """Reads the batches of jobs."""

    def all(self) -> list[BatchCount]:
        """Jobs per batch and state, with the times of the first and the last change. Reads the rows of all batches."""

    def dead(self, batch: str, at_most: int) -> int:
        """How many jobs of a batch are in the dead-letter queue; at most `at_most` are counted."""

    def names(self, prefix: str, limit: int) -> list[str]:
        """The names of batches that begin with `prefix`, in their order: a seek for each."""


class Schedules(Protocol):
    """Reads the table of schedules."""

    def all(self) -> "list[Schedule]":
        """All schedules, ordered by name."""

    def named(self, name: str) -> "Schedule | None":
        """One schedule."""

    def due(self, now: int) -> list[tuple[str, int]]:
        """(name, version) of the schedules whose next slot is due, the longest due first."""

    def next_slot(self, now: int) -> int | None:
        """When the next schedule is due that is not due at `now` (microseconds on the wall clock)."""

    def live_job(self, schedule: str) -> str | None:
        """A job of a schedule that is pending or processing."""


class Waits(Protocol):
    """Reads the dependencies of the jobs that wait for others."""

    def dependencies(self, job_id: str | None = None) -> list[WaitRow]:
        """The dependencies of one job that waits, or of all such jobs."""

    def by_queue(self) -> list[Waiting]:
        """How many jobs of each queue wait for others, and how many of these are held."""

    def behind(self, kind: str, name: str, limit: int) -> list[str]:
        """Ids of jobs that wait for a job or a batch, sorted, at most `limit`."""

    def crowd(self, kind: str, name: str) -> int:
        """How many jobs wait for a job or a batch."""
