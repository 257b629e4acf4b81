"""The tables as they were at a position of the log: in memory, with only the streams that a query needs."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

from queuectl.domain.dependencies import BATCH as BATCH_KIND
from queuectl.domain.dependencies import JOB
from queuectl.domain.events import Enqueued, RecordedEvent, type_of
from queuectl.domain.job import Job
from queuectl.domain.machine import LIVE, MOVES, State
from queuectl.domain.names import SCHEDULES, SETTINGS_STREAM, queue_stream
from queuectl.domain.schedule import Schedule
from queuectl.store.projections import Values, count_key
from queuectl.store.protocol import History, Log
from queuectl.store.rows import (
    MAX_POSITION,
    BatchCount,
    Count,
    DeadLetter,
    JobFilter,
    Standing,
    Waiting,
    WaitRow,
)
from queuectl.store.sql.assembly import OpenStore
from queuectl.store.sql.causes import Causes
from queuectl.store.sql.table_writer import TableWriter
from queuectl.store.sql.waits import INSERT_WAITS
from queuectl.store.stream_fold import Stream, streams
from queuectl.units import SECOND

__all__ = ["Folds", "PastBatches", "PastSchedules", "PastTables", "PastWaits"]

BATCH = 500
"""Jobs that are folded together."""

_STATES = {type_of(Enqueued): State.PENDING, **{move.event: move.target for move in MOVES}}
"""A move event's type -> the state that a job is in after it."""


class Folds:
    """Folds the jobs that a query needs into the tables of a store in memory, each once."""

    def __init__(self, log: Log, history: History, memory: OpenStore) -> None:
        self.memory = memory
        self._log, self._history = log, history
        self._rows = TableWriter(memory.engine)
        self._folded: set[str] = set()
        self._has_schedules = False
        self._causes = Causes(memory.engine.run, log)
        for prefix in (SETTINGS_STREAM, queue_stream("")):
            self._add_notes(prefix)

    def _add_notes(self, prefix: str) -> None:
        notes = self._history.notes(prefix, MAX_POSITION)
        self._rows.write_notes([note for note in notes if isinstance(note, RecordedEvent)])

    def fold_schedules(self) -> None:
        """Schedules may have very many notes, so they are read only when someone asks."""
        if not self._has_schedules:
            self._has_schedules = True
            self._add_notes(SCHEDULES)

    @cached_property
    def standing(self) -> list[Standing]:
        """The last move of every job."""
        return self._history.standing(MAX_POSITION)

    def matching(self, wanted: JobFilter) -> list[str]:
        """Ids of the jobs that the filter may select, judged by their last moves, the oldest first."""
        more = (State.PENDING,) if wanted.failed or wanted.held else ()
        states = {*wanted.states, *more} or {*State} - {State.PURGED}
        moves = {move for move, state in _STATES.items() if state in states}
        since = (wanted.since or 0) // SECOND * SECOND
        return [
            row.job_id
            for row in self.standing
            if row.move in moves
            and row.recorded_at >= since
            and row.queue in (wanted.queues or (row.queue,))
            and (wanted.positions is None or wanted.positions[0] <= row.position < wanted.positions[1])
        ]

    def fold_matching(self, wanted: JobFilter) -> None:
        """Fold the jobs that the filter may select."""
        self.fold(self.matching(wanted))

    def fold_wanted(self, wanted: JobFilter) -> None:
        """The same; sorted by time of enqueueing, no more jobs than are wanted."""
        found = self.matching(wanted)
        others = (
            wanted.failed
            or wanted.tags
            or wanted.batch
            or wanted.origin
            or wanted.text
            or wanted.held
            or wanted.dependent
        )
        if wanted.sort == "created" and wanted.limit and not others:
            found = found[-wanted.limit :] if wanted.descending else found[: wanted.limit]
        self.fold(found)

    def fold(self, ids: Iterable[str]) -> None:
        """Fold these jobs into the tables, a damaged one up to its damage."""
        missing = [job_id for job_id in ids if job_id not in self._folded]
        for start in range(0, len(missing), BATCH):
            batch = [job_id for job_id in missing[start : start + BATCH] if job_id not in self._folded]
            self._folded.update(batch)
            self._add([stream for job_id in batch for stream in streams(self._log.examined(stream_id=job_id))])

    def _add(self, found: Sequence[Stream]) -> None:
        counts: Counter[tuple[str, int, str]] = Counter()
        fresh: dict[str, list[Values]] = {}
        for stream in found:
            counts.update(filter(None, [count_key(stream.job)]))
            for table, row in stream.rows().items():
                fresh.setdefault(table, []).append(row)
        self._rows.add(fresh, counts)
        self._add_waits([job for stream in found if stream.damage is None and (job := stream.job) and job.is_waiting])

    def _add_waits(self, jobs: list[Job]) -> None:
        """The dependencies of jobs that wait. Of a batch all jobs are folded, of purged ones the state before."""
        kinds = {(after.kind, after.name) for job in jobs for after in job.spec.after}
        self.fold([name for kind, name in kinds if kind == JOB])
        if any(kind == BATCH_KIND for kind, _ in kinds):
            self.fold([row.job_id for row in self.standing])
        rows = self._causes.rows({job.id: (job.spec.after, job.spec.if_unmet) for job in jobs})
        self.memory.engine.insert(INSERT_WAITS, rows)


class PastTables:
    """Implements `protocol.Tables`."""

    def __init__(self, folds: Folds) -> None:
        self._folds, self._tables = folds, folds.memory.tables
        self.settings, self.pauses = self._tables.settings, self._tables.pauses

    def holder(self, unique: str) -> str | None:
        """The live job that holds a unique key."""
        self._folds.fold_matching(JobFilter(states=LIVE))
        return self._tables.holder(unique)

    def job(self, job_id: str) -> dict[str, Any] | None:
        """One row of `jobs`."""
        self._folds.fold([job_id])
        return self._tables.job(job_id)

    def jobs(self, wanted: JobFilter) -> list[dict[str, Any]]:
        """Rows of `jobs`. Sorted by time of enqueueing, it folds no more jobs than are wanted."""
        self._folds.fold_wanted(wanted)
        return self._tables.jobs(wanted)

    def ids(self, wanted: JobFilter) -> list[str]:
        """Only the ids of those rows."""
        self._folds.fold_wanted(wanted)
        return self._tables.ids(wanted)

    def dlq(self, job_id: str | None = None) -> list[dict[str, Any]]:
        """Rows of `dlq`, the oldest first."""
        self._folds.fold(self._folds.matching(JobFilter(states=(State.DLQ,))) if job_id is None else [job_id])
        return self._tables.dlq(job_id)

    def dead(self, queues: Collection[str], since: int) -> list[DeadLetter]:
        """The dead jobs of these queues that were moved at or after `since`, oldest first."""
        self._folds.fold_matching(JobFilter(states=(State.DLQ,), queues=tuple(queues)))
        return self._tables.dead(queues, since)

    def claimable(
        self,
        queues: Collection[str],
        limit: int,
        now: int,
        skip: Collection[str] = (),
        behind_for: int | None = None,
    ) -> list[str]:
        """Ids of jobs to claim next, in claiming order."""
        self._folds.fold_matching(JobFilter(states=(State.PENDING,)))
        return self._tables.claimable(queues, limit, now, skip, behind_for)

    def next_due(self, queues: Collection[str], now: int = 0, behind_for: int | None = None) -> int | None:
        """The earliest time at which a pending job is due in these queues."""
        self._folds.fold_matching(JobFilter(states=(State.PENDING,)))
        return self._tables.next_due(queues, now, behind_for)

    def oldest_due(self, now: int) -> dict[str, Any] | None:
        """The row of the pending job that has been due the longest."""
        self._folds.fold_matching(JobFilter(states=(State.PENDING,)))
        return self._tables.oldest_due(now)

    def oldest_due_by_queue(self) -> dict[str, int]:
        """The earliest due time of the pending jobs of each queue."""
        self._folds.fold_matching(JobFilter(states=(State.PENDING,)))
        return self._tables.oldest_due_by_queue()

    def processing(self) -> list[tuple[str, int]]:
        """(id, run) of every job that a worker has claimed."""
        self._folds.fold_matching(JobFilter(states=(State.PROCESSING,)))
        return self._tables.processing()

    def counts(self) -> list[Count]:
        """Jobs per queue and state, from each job's last move, without folding."""
        found: Counter[tuple[str, State]] = Counter()
        for (queue, move), jobs in Counter((row.queue, row.move) for row in self._folds.standing).items():
            found[queue, _STATES[move]] += jobs
        return [Count(*key, jobs) for key, jobs in sorted(found.items()) if key[1] is not State.PURGED]


class PastBatches:
    """Implements `protocol.Batches`."""

    def __init__(self, folds: Folds) -> None:
        self._folds, self._batches = folds, folds.memory.batches

    def all(self) -> list[BatchCount]:
        """Jobs per batch and state: every job is folded."""
        self._folds.fold_matching(JobFilter())
        return self._batches.all()

    def counts(self, batch: str) -> list[Count]:
        """Jobs of a batch per queue and state: every job is folded."""
        self._folds.fold_matching(JobFilter())
        return self._batches.counts(batch)

    def dead(self, batch: str, at_most: int) -> int:
        """How many jobs of a batch are in the dead-letter queue: every job is folded."""
        self._folds.fold_matching(JobFilter())
        return self._batches.dead(batch, at_most)

    def names(self, prefix: str, limit: int) -> list[str]:
        """The names of batches that begin with `prefix`: every job is folded."""
        self._folds.fold_matching(JobFilter())
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
        self._folds.fold_matching(JobFilter(states=LIVE))
        return self._schedules.live_job(schedule)


class PastWaits:
    """Implements `protocol.Waits`."""

    def __init__(self, folds: Folds) -> None:
        self._folds, self._waits = folds, folds.memory.waits

    def dependencies(self, job_id: str | None = None) -> list[WaitRow]:
        """The dependencies of one job that waits, or of all such jobs."""
        self._folds.fold(self._folds.matching(JobFilter(states=(State.PENDING,))) if job_id is None else [job_id])
        return self._waits.dependencies(job_id)

    def by_queue(self) -> list[Waiting]:
        """How many jobs of each queue wait for others, and how many of these are held."""
        self._folds.fold_matching(JobFilter(states=(State.PENDING,)))
        return self._waits.by_queue()

    def crowd(self, kind: str, name: str) -> int:
        """How many jobs wait for a job or a batch."""
        self._folds.fold_matching(JobFilter(states=(State.PENDING,)))
        return self._waits.crowd(kind, name)
