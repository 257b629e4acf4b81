"""The tables as they were at a position of the log: in memory, with only the jobs that a query needs."""

from collections.abc import Collection
from functools import cached_property
from typing import Any

from queuectl.domain.job import Job
from queuectl.domain.machine import LIVE, State
from queuectl.domain.schedule import Schedule
from queuectl.store.past_folds import Folds
from queuectl.store.rows import BatchCount, Count, DeadLetter, JobFilter, Waiting, WaitRow
from queuectl.store.sql.tables import Tables

__all__ = ["PastBatches", "PastSchedules", "PastTables", "PastWaits"]


class PastTables:
    """Implements `protocol.Tables`."""

    def __init__(self, folds: Folds) -> None:
        self._folds, self._tables = folds, folds.memory.tables
        self._with_late = Tables(folds.memory.engine, late=folds.misdated)
        self.settings, self.pauses = self._tables.settings, self._tables.pauses
        self.read = folds.read

    def holder(self, unique: str) -> str | None:
        """The live job that holds a unique key."""
        self._folds.fold_all(JobFilter(states=LIVE))
        return self._tables.holder(unique)

    def job(self, job_id: str) -> dict[str, Any] | None:
        """One row of `jobs`."""
        self._folds.fold([job_id])
        return self._tables.job(job_id)

    def jobs(self, wanted: JobFilter) -> list[dict[str, Any]]:
        """Rows of `jobs`. Sorted by time of enqueueing, it folds no more jobs than are wanted."""
        wanted = self._folds.by_position(wanted)
        self._folds.fold_wanted(wanted)
        return self._tables.jobs(wanted)

    def ids(self, wanted: JobFilter) -> list[str]:
        """Only the ids of those rows."""
        wanted = self._folds.by_position(wanted)
        self._folds.fold_wanted(wanted)
        return self._tables.ids(wanted)

    def dlq(self, job_id: str | None = None) -> list[dict[str, Any]]:
        """Rows of `dlq`, the oldest first."""
        self._folds.fold_all(JobFilter(states=(State.DLQ,))) if job_id is None else self._folds.fold([job_id])
        return self._tables.dlq(job_id)

    def dead(self, queues: Collection[str], since: int) -> list[DeadLetter]:
        """The dead jobs of these queues that were moved at or after `since`, oldest first."""
        return self._folds.dead(queues, since)

    def claimable(
        self,
        queues: Collection[str],
        limit: int,
        now: int,
        skip: Collection[str] = (),
        behind_for: int | None = None,
    ) -> list[str]:
        """Ids of jobs to claim next, in claiming order."""
        self._fold_due(limit + len(skip), behind_for)
        return self._with_late.claimable(queues, limit, now, skip, behind_for)

    def next_due(self, queues: Collection[str], now: int = 0, behind_for: int | None = None) -> int | None:
        """The earliest time at which a pending job is due in these queues."""
        self._fold_due(1, behind_for)
        return self._with_late.next_due(queues, now, behind_for)

    def waited(self, job: Job | Exception | None, now: int, behind_for: int | None) -> int | None:
        """`behind_for` of `is_due` for a job: for how long it had waited, as the log's events up to then say."""
        if isinstance(job, Job):
            self._folds.fold([job.id])
        return self._with_late.waited(job, now, behind_for)

    def oldest_due(self, now: int) -> dict[str, Any] | None:
        """The row of the pending job that has been due the longest."""
        self._folds.fold_first_due(1)
        return self._tables.oldest_due(now)

    def oldest_due_by_queue(self) -> dict[str, int]:
        """The earliest due time of the pending jobs of each queue."""
        self._folds.fold_first_due(1)
        return self._tables.oldest_due_by_queue()

    def _fold_due(self, limit: int, behind_for: int | None) -> None:
        """Fold the first jobs to claim. With a wrong clock any pending job may be one of them."""
        if behind_for is None:
            self._folds.fold_first_due(limit)
        else:
            self._folds.fold_all(JobFilter(states=(State.PENDING,)))

    def processing(self) -> list[tuple[str, int]]:
        """(id, run) of every job that a worker has claimed."""
        self._folds.fold_all(JobFilter(states=(State.PROCESSING,)))
        return self._tables.processing()

    def counts(self, wanted: JobFilter | None = None) -> list[Count]:
        """Jobs per queue and state, from each job's last move, without folding; those of a filter are folded."""
        if wanted is None:
            return self._counts
        wanted = self._folds.by_position(wanted)
        self._folds.fold_all(wanted)
        return self._tables.counts(wanted)

    @cached_property
    def _counts(self) -> list[Count]:
        return self._folds.counts()


class PastBatches:
    """Implements `protocol.Batches`."""

    def __init__(self, folds: Folds) -> None:
        self._folds, self._batches = folds, folds.memory.batches

    def all(self) -> list[BatchCount]:
        """Jobs per batch and state: all jobs in batches are folded."""
        self._folds.fold_batches()
        return self._batches.all()

    def dead(self, batch: str, at_most: int) -> int:
        """How many jobs of a batch are in the dead-letter queue: all its dead jobs are folded."""
        self._folds.fold_all(JobFilter(states=(State.DLQ,), batch=batch))
        return self._batches.dead(batch, at_most)

    def names(self, prefix: str, limit: int) -> list[str]:
        """The names of batches that begin with `prefix`: all jobs in batches are folded."""
        self._folds.fold_batches()
        return self._batches.names(prefix, limit)


class PastSchedules:
    """Implements `protocol.Schedules`."""

    def __init__(self, folds: Folds) -> None:
        self._folds, self._schedules = folds, folds.memory.schedules

    def all(self) -> list[Schedule]:
        """All schedules, ordered by name."""
        self._folds.fold_schedules()
        return self._schedules.all()

    def named(self, name: str) -> Schedule | None:
        """One schedule."""
        self._folds.fold_schedules()
        return self._schedules.named(name)

    def due(self, now: int) -> list[tuple[str, int]]:
        """(name, version) of schedules whose next slot is due."""
        self._folds.fold_schedules()
        return self._schedules.due(now)

    def next_slot(self, now: int) -> int | None:
        """When the next schedule is due that is not due at `now`."""
        self._folds.fold_schedules()
        return self._schedules.next_slot(now)

    def live_job(self, schedule: str) -> str | None:
        """A job of a schedule that is pending or processing."""
        self._folds.fold_all(JobFilter(states=LIVE))
        return self._schedules.live_job(schedule)


class PastWaits:
    """Implements `protocol.Waits`."""

    def __init__(self, folds: Folds) -> None:
        self._folds, self._waits = folds, folds.memory.waits

    def dependencies(self, job_id: str | None = None) -> list[WaitRow]:
        """The dependencies of one job that waits, or of all such jobs."""
        self._folds.fold_changed(State.PENDING) if job_id is None else self._folds.fold([job_id])
        return self._waits.dependencies(job_id)

    def by_queue(self) -> list[Waiting]:
        """How many jobs of each queue wait for others, and how many of these are held."""
        self._folds.fold_changed(State.PENDING)
        return self._waits.by_queue()

    def behind(self, kind: str, name: str, limit: int) -> list[str]:
        """Ids of jobs that wait for a job or a batch."""
        self._folds.fold_changed(State.PENDING)
        return self._waits.behind(kind, name, limit)

    def crowd(self, kind: str, name: str) -> int:
        """How many jobs wait for a job or a batch."""
        self._folds.fold_changed(State.PENDING)
        return self._waits.crowd(kind, name)
