"""The queue as it was at a position of its log, for reading.

The log is that of the live store up to the position. The tables are in memory, and only the streams that a query needs
are folded into them. The clock stands still at the chosen moment, so ages and waits are as they were then. Workers'
heartbeats are not in the log, so there are no workers. Nothing is written to the live store.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from queuectl.domain.dependencies import BATCH as BATCH_KIND
from queuectl.domain.dependencies import JOB
from queuectl.domain.events import Enqueued, RecordedEvent, type_of
from queuectl.domain.job import Job
from queuectl.domain.machine import LIVE, MOVES, State
from queuectl.domain.names import SCHEDULES, SETTINGS_STREAM, queue_stream
from queuectl.domain.schedule import Schedule
from queuectl.store.errors import DamagedEventError
from queuectl.store.options import StoreOptions
from queuectl.store.projections import Values, count_key
from queuectl.store.protocol import Log, Store
from queuectl.store.rows import (
    MAX_POSITION,
    BatchCount,
    Count,
    DeadLetter,
    Head,
    JobFilter,
    RunStep,
    Standing,
    StoredEvent,
    Waiting,
    WaitRow,
)
from queuectl.store.sql.assembly import OpenStore
from queuectl.store.sql.causes import Causes
from queuectl.store.sql.location import Location
from queuectl.store.sql.table_writer import TableWriter
from queuectl.store.sql.upkeep import Upkeep
from queuectl.store.sql.waits import INSERT_WAITS
from queuectl.store.sql.workers import Workers
from queuectl.store.sql.writer import Writer
from queuectl.store.sqlite.connection import MEMORY
from queuectl.store.sqlite.store import open_sqlite
from queuectl.store.stream_fold import Examined, Stream, folded_job, streams
from queuectl.units import SECOND

__all__ = ["Past"]

BATCH = 500
"""Jobs that are folded together."""

_STATES = {type_of(Enqueued): State.PENDING, **{move.event: move.target for move in MOVES}}
"""A move event's type -> the state that a job is in after it."""


class _StandingClock:
    """Both clocks at one moment."""

    def __init__(self, moment: int) -> None:
        self._moment = moment

    def now(self) -> int:
        return self._moment

    def monotonic(self) -> int:
        return self._moment


class Past(NamedTuple):
    """Implements `protocol.Store` for reading; `moment` (microseconds, UTC) is the time that its clock shows."""

    position: int
    moment: int
    log: "PastLog"
    tables: "PastTables"
    writer: Writer
    workers: Workers
    upkeep: Upkeep
    location: Location
    memory: OpenStore

    @classmethod
    def of(cls, store: Store, position: int, moment: int) -> "Past":
        """The store as it was at `position`."""
        memory = open_sqlite(MEMORY, _StandingClock(moment), StoreOptions())
        log = PastLog(store.log, position, moment)
        tables = PastTables(log, memory)
        parts = (memory.writer, memory.workers, memory.upkeep, memory.location)
        return cls(position, moment, log, tables, *parts, memory)

    def close(self) -> None:
        """Drop the tables in memory."""
        self.memory.close()


class PastLog:
    """Implements `protocol.Log`: a log up to a position."""

    def __init__(self, log: Log, position: int, moment: int) -> None:
        self._log, self._position, self._moment = log, position, moment
        self.log_id, self.base = log.log_id, log.base

    def format(self) -> int:
        """The format of the whole log."""
        return self._log.format()

    def head(self) -> Head:
        """The event at the position."""
        row = next(self.stored(after=self._position - 1), None)
        return Head(row.position, row.digest, row.recorded_at) if row else self.base

    def digest_at(self, position: int) -> bytes | None:
        """The digest of the event at a position; None after the end."""
        return self._log.digest_at(position) if position <= self._position else None

    def now(self) -> int:
        """The moment, but not before the last event."""
        return max(self._moment, self.head().recorded_at)

    def wall(self) -> int:
        """The moment."""
        return self._moment

    def behind_for(self) -> int | None:
        """0 when the moment is before the last event, else None."""
        return 0 if self._moment < self.head().recorded_at else None

    def load(self, job_id: str) -> Job | None:
        """Fold a job's stream up to the position. Raises DamagedEventError."""
        return folded_job(self.examined(stream_id=job_id))

    def load_all(self, job_ids: Collection[str]) -> Mapping[str, Job | DamagedEventError | None]:
        """Fold several jobs; a damaged one is returned as its error."""
        return {job_id: stream.damage or stream.job for job_id in job_ids for stream in [self._stream(job_id)]}

    def _stream(self, job_id: str) -> Stream:
        return next(streams(self.examined(stream_id=job_id)), Stream(job_id))

    def version(self, stream_id: str) -> int:
        """The version of the stream's last event, 0 for none."""
        return max((record.version for record in self.records(stream_id=stream_id)), default=0)

    def records(
        self, *, after: int = 0, until: int | None = None, stream_id: str | None = None
    ) -> Iterator[RecordedEvent]:
        """Events with `after < position <= until`, in order. Raises DamagedEventError at a damaged one."""
        return self._log.records(after=after, until=self._bounded(until), stream_id=stream_id)

    def stored(self, *, after: int = 0, until: int | None = None) -> Iterator[StoredEvent]:
        """Rows with `after < position <= until`, in order and unchecked."""
        return self._log.stored(after=after, until=self._bounded(until))

    def run_steps(self, types: Collection[str], *, after: int, until: int) -> Iterator[RunStep]:
        """Events of these types, in order."""
        return self._log.run_steps(types, after=after, until=self._bounded(until))

    def examined(self, *, stream_id: str | None = None, until: int | None = None) -> Iterator[Examined]:
        """Events ordered by stream and version; a damaged one is returned as its error."""
        return self._log.examined(stream_id=stream_id, until=self._bounded(until))

    def newest(self, stream_id: str, limit: int, until: int | None = None) -> Sequence[Examined]:
        """The last events of a stream, the newest first."""
        return self._log.newest(stream_id, limit, self._bounded(until))

    def streams(self, prefix: str, limit: int, until: int | None = None) -> list[str]:
        """Ids of jobs that begin with `prefix` and existed at the position."""
        return self._log.streams(prefix, limit, self._bounded(until))

    def ending(self, suffix: str, limit: int, until: int | None = None) -> list[str]:
        """Ids of jobs that end with `suffix` and existed at the position."""
        return self._log.ending(suffix, limit, self._bounded(until))

    def notes(self, prefix: str, until: int) -> list[Examined]:
        """Events of our own streams whose ids begin with `prefix`."""
        return self._log.notes(prefix, self._bounded(until))

    def standing(self, until: int) -> list[Standing]:
        """The last move of every job."""
        return self._log.standing(self._bounded(until))

    def _bounded(self, until: int | None) -> int:
        return self._position if until is None else min(until, self._position)


class PastTables:
    """Implements `protocol.Tables`: folds the jobs that a query needs, then queries the tables in memory."""

    def __init__(self, log: PastLog, memory: OpenStore) -> None:
        self._log, self._tables = log, memory.tables
        self._rows = TableWriter(memory.engine)
        self._folded: set[str] = set()
        self._has_schedules = False
        self._engine, self._causes = memory.engine, Causes(memory.engine.run, log)
        self.settings, self.pauses = memory.tables.settings, memory.tables.pauses
        for prefix in (SETTINGS_STREAM, queue_stream("")):
            self._rows.write_notes(
                [note for note in self._log.notes(prefix, MAX_POSITION) if isinstance(note, RecordedEvent)]
            )

    def holder(self, unique: str) -> str | None:
        """The live job that holds a unique key."""
        self._fold_matching(JobFilter(states=LIVE))
        return self._tables.holder(unique)

    def job(self, job_id: str) -> dict[str, Any] | None:
        """One row of `jobs`."""
        self._fold([job_id])
        return self._tables.job(job_id)

    def jobs(self, wanted: JobFilter) -> list[dict[str, Any]]:
        """Rows of `jobs`. Sorted by time of enqueueing, it folds no more jobs than are wanted."""
        self._fold_wanted(wanted)
        return self._tables.jobs(wanted)

    def ids(self, wanted: JobFilter) -> list[str]:
        """Only the ids of those rows."""
        self._fold_wanted(wanted)
        return self._tables.ids(wanted)

    def dlq(self, job_id: str | None = None) -> list[dict[str, Any]]:
        """Rows of `dlq`, the oldest first."""
        self._fold(self._matching(JobFilter(states=(State.DLQ,))) if job_id is None else [job_id])
        return self._tables.dlq(job_id)

    def dead(self, queues: Collection[str], since: int) -> list[DeadLetter]:
        """The dead jobs of these queues that were moved at or after `since`, oldest first."""
        self._fold_matching(JobFilter(states=(State.DLQ,), queues=tuple(queues)))
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
        self._fold_matching(JobFilter(states=(State.PENDING,)))
        return self._tables.claimable(queues, limit, now, skip, behind_for)

    def next_due(self, queues: Collection[str], now: int = 0, behind_for: int | None = None) -> int | None:
        """The earliest time at which a pending job is due in these queues."""
        self._fold_matching(JobFilter(states=(State.PENDING,)))
        return self._tables.next_due(queues, now, behind_for)

    def oldest_due(self, now: int) -> dict[str, Any] | None:
        """The row of the pending job that has been due the longest."""
        self._fold_matching(JobFilter(states=(State.PENDING,)))
        return self._tables.oldest_due(now)

    def oldest_due_by_queue(self) -> dict[str, int]:
        """The earliest due time of the pending jobs of each queue."""
        self._fold_matching(JobFilter(states=(State.PENDING,)))
        return self._tables.oldest_due_by_queue()

    def processing(self) -> list[tuple[str, int]]:
        """(id, run) of every job that a worker has claimed."""
        self._fold_matching(JobFilter(states=(State.PROCESSING,)))
        return self._tables.processing()

    def schedules(self) -> list[Schedule]:
        """All schedules, ordered by name."""
        self._fold_schedules()
        return self._tables.schedules()

    def schedule(self, name: str) -> Schedule | None:
        """One schedule."""
        self._fold_schedules()
        return self._tables.schedule(name)

    def due_schedules(self, now: int) -> list[tuple[str, int]]:
        """(name, version) of schedules whose next slot is due."""
        self._fold_schedules()
        return self._tables.due_schedules(now)

    def next_schedule(self, now: int) -> int | None:
        """When the next schedule is due that is not due at `now`."""
        self._fold_schedules()
        return self._tables.next_schedule(now)

    def live_job_of(self, schedule: str) -> str | None:
        """A job of a schedule that is pending or processing."""
        self._fold_matching(JobFilter(states=LIVE))
        return self._tables.live_job_of(schedule)

    def counts(self) -> list[Count]:
        """Jobs per queue and state, from each job's last move, without folding."""
        found: Counter[tuple[str, State]] = Counter()
        for (queue, move), jobs in Counter((row.queue, row.move) for row in self._standing).items():
            found[queue, _STATES[move]] += jobs
        return [Count(*key, jobs) for key, jobs in sorted(found.items()) if key[1] is not State.PURGED]

    def batches(self) -> list[BatchCount]:
        """Jobs per batch and state: every job is folded."""
        self._fold_matching(JobFilter())
        return self._tables.batches()

    def batch_counts(self, batch: str) -> list[Count]:
        """Jobs of a batch per queue and state: every job is folded."""
        self._fold_matching(JobFilter())
        return self._tables.batch_counts(batch)

    def batch_names(self, prefix: str, limit: int) -> list[str]:
        """The names of batches that begin with `prefix`: every job is folded."""
        self._fold_matching(JobFilter())
        return self._tables.batch_names(prefix, limit)

    def _fold_schedules(self) -> None:
        """Schedules may have very many notes, so they are read only when someone asks."""
        if not self._has_schedules:
            self._has_schedules = True
            notes = self._log.notes(SCHEDULES, MAX_POSITION)
            self._rows.write_notes([note for note in notes if isinstance(note, RecordedEvent)])

    def waits(self, job_id: str | None = None) -> list[WaitRow]:
        """The dependencies of one job that waits, or of all such jobs."""
        self._fold(self._matching(JobFilter(states=(State.PENDING,))) if job_id is None else [job_id])
        return self._tables.waits(job_id)

    def waiting(self) -> list[Waiting]:
        """How many jobs of each queue wait for others, and how many of these are held."""
        self._fold_matching(JobFilter(states=(State.PENDING,)))
        return self._tables.waiting()

    def crowd(self, kind: str, name: str) -> int:
        """How many jobs wait for a job or a batch."""
        self._fold_matching(JobFilter(states=(State.PENDING,)))
        return self._tables.crowd(kind, name)

    # ── folding ─────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _standing(self) -> list[Standing]:
        return self._log.standing(MAX_POSITION)

    def _matching(self, wanted: JobFilter) -> list[str]:
        """Ids of the jobs that the filter may select, judged by their last moves, the oldest first."""
        more = (State.PENDING,) if wanted.failed or wanted.held else ()
        states = {*wanted.states, *more} or {*State} - {State.PURGED}
        moves = {move for move, state in _STATES.items() if state in states}
        since = (wanted.since or 0) // SECOND * SECOND
        return [
            row.job_id
            for row in self._standing
            if row.move in moves
            and row.recorded_at >= since
            and row.queue in (wanted.queues or (row.queue,))
            and (wanted.positions is None or wanted.positions[0] <= row.position < wanted.positions[1])
        ]

    def _fold_matching(self, wanted: JobFilter) -> None:
        self._fold(self._matching(wanted))

    def _fold_wanted(self, wanted: JobFilter) -> None:
        found = self._matching(wanted)
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
        self._fold(found)

    def _fold(self, ids: Iterable[str]) -> None:
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
        self._fold([name for kind, name in kinds if kind == JOB])
        if any(kind == BATCH_KIND for kind, _ in kinds):
            self._fold([row.job_id for row in self._standing])
        rows = self._causes.rows({job.id: (job.spec.after, job.spec.if_unmet) for job in jobs})
        self._engine.insert(INSERT_WAITS, rows)
