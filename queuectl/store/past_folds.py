"""The jobs that a query about the past needs, folded into tables in memory.

The past is found from the nearer end of the log. Near the present, the live tables still show most jobs as they were:
a query takes their ids from there, and the log says which other jobs have changed since, and how they stood. Near the
beginning, the log says how all jobs stood. In both cases every row is folded from the log. The counts near the present
follow from the live ones, which `verify` compares with the log.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from queuectl.domain.dependencies import BATCH as BATCH_KIND
from queuectl.domain.dependencies import JOB
from queuectl.domain.events import Enqueued, RecordedEvent, type_of
from queuectl.domain.job import Job, evolve
from queuectl.domain.machine import MOVES, State
from queuectl.domain.names import SCHEDULES, SETTINGS_STREAM, queue_stream
from queuectl.store.moments import position_at
from queuectl.store.projections import Values, count_key
from queuectl.store.protocol import Log, Store
from queuectl.store.reading_protocols import History
from queuectl.store.rows import MAX_POSITION, Count, DeadLetter, JobFilter, LastMove
from queuectl.store.sql.assembly import OpenStore
from queuectl.store.sql.causes import Causes
from queuectl.store.sql.job_filter import TURN
from queuectl.store.sql.misdated import Misdated, Wait, measured
from queuectl.store.sql.table_writer import TableWriter
from queuectl.store.sql.waits import INSERT_WAITS
from queuectl.store.stream_fold import Stream, streams

__all__ = ["Folds", "is_nearer_the_begin"]

BATCH = 500
"""Jobs that are folded together."""
PART = 50_000
"""Events that are read in one statement, because other threads wait for it, and to know how far one is."""

_STATES = {type_of(Enqueued): State.PENDING, **{move.event: move.target for move in MOVES}}
"""A move event's type -> the state that a job is in after it."""


SHORT = 10_000
"""Events that are read from the begin in any case: that is quick, and it believes no table."""


def is_nearer_the_begin(position: int, base: int, head: int) -> bool:
    """Whether fewer events come before a position than after it, or only a few."""
    return position - base <= max(SHORT, head - position)


class _SetWait(NamedTuple):
    """When a wait begins (microseconds, wall clock), how long it is, and the position of the event that set it."""

    begin: int
    length: int
    set_at: int


class Folds:
    """Folds the jobs that a query needs into the tables of a store in memory, each once."""

    def __init__(self, live: Store, position: int, log: Log, history: History, memory: OpenStore) -> None:
        self.memory = memory
        self._live, self._position, self._log, self._history = live, position, log, history
        self._unchanged = live.history.unchanged(position)
        self._from_begin = is_nearer_the_begin(position, log.base.position, live.log.head().position)
        self._seen: int | None = None
        self._changed: dict[str, LastMove] = {}
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

    def counts(self) -> list[Count]:
        """Jobs per queue and state, from each job's last move, without folding."""
        unchanged, end = ([], MAX_POSITION) if self._from_begin else self._unchanged.counts()
        found: Counter[tuple[str, State]] = Counter({(each.queue, each.state): each.jobs for each in unchanged})
        for row in self._changed_by(end):
            found[row.queue, _STATES[row.move]] += 1
        return [Count(*key, jobs) for key, jobs in sorted(found.items()) if jobs and key[1] is not State.PURGED]

    def read(self, reached: Callable[[float], None]) -> None:
        """Find how the jobs stood. `reached` is called with the share that has been read, from 0 to 1."""
        first, last = self._bounds()
        for place in self._read(last):
            reached((place - first) / max(last - first, 1))

    def _bounds(self) -> tuple[int, int]:
        """The positions between which the log says how the jobs stood that the tables do not show."""
        if self._from_begin:
            return self._log.base.position, self._position
        return self._position, self._live.log.head().position

    def _read(self, end: int) -> Iterator[int]:
        """Read on up to a position, a part of the log at a time; yields the position that has been reached."""
        while self._seen is None or self._seen < end:
            after = self._bounds()[0] if self._seen is None else self._seen
            reached = min(after + PART, end)
            for row in self._history.last_moves(MAX_POSITION, added=self._from_begin, after=after, end=reached):
                self._changed.setdefault(row.job_id, row)
            self._seen = reached
            yield reached

    def _changed_by(self, end: int) -> Iterable[LastMove]:
        """How the jobs stood at the position that have changed since, up to `end`; from the begin on, all jobs."""
        for _ in self._read(self._position if self._from_begin else end):
            pass
        return self._changed.values()

    def _changed_now(self) -> Iterable[LastMove]:
        """The same up to now: read after the ids of unchanged jobs, so that a job that changes meanwhile is in both."""
        return self._changed_by(self._live.log.head().position)

    def _matching(self, wanted: JobFilter) -> list[str]:
        """Ids of the changed jobs that the filter may select, judged by their last moves, the oldest first."""
        more = (State.PENDING,) if wanted.failed or wanted.held else ()
        states = {*wanted.states, *more} or {*State} - {State.PURGED}
        moves = {move for move, state in _STATES.items() if state in states}
        found = [
            row
            for row in self._changed_now()
            if row.move in moves
            and row.queue in (wanted.queues or (row.queue,))
            and (wanted.positions is None or wanted.positions[0] <= row.position < wanted.positions[1])
        ]
        return [row.job_id for row in sorted(found, key=lambda row: row.position)]

    def _fold_both(self, unchanged: Callable[[], Iterable[str]], wanted: JobFilter) -> None:
        """Fold unchanged jobs, and changed ones that the filter may select.

        In this order: a job that changes between the two reads is then in both, and else would be in neither.
        """
        ids = () if self._from_begin else tuple(unchanged())
        self.fold([*ids, *self._matching(wanted)])

    def fold_changed(self, *states: State) -> None:
        """Fold the jobs in these states that have changed since the position, or that wait for others."""
        self.fold(self._matching(JobFilter(states=states)))

    def by_position(self, wanted: JobFilter) -> JobFilter:
        """The filter with positions for `since`: the tables in memory have no events, so only whole seconds."""
        if wanted.since is None:
            return wanted
        first, end = wanted.positions or (0, MAX_POSITION)
        return replace(wanted, since=None, positions=(max(first, position_at(self._log, wanted.since - 1) + 1), end))

    def fold_all(self, wanted: JobFilter) -> None:
        """Fold all jobs that the filter may select."""
        self.fold_wanted(replace(wanted, limit=0))

    def fold_batches(self) -> None:
        """Fold all jobs that are in a batch."""
        self._fold_both(self._unchanged.in_batches, JobFilter())

    def fold_wanted(self, wanted: JobFilter) -> None:
        """Fold the jobs that the filter may select; sorted by time of enqueueing, no more than are wanted."""
        if wanted.ids is not None:
            self.fold(wanted.ids)
            return
        unchanged = self._ids_of_unchanged(wanted)
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
        self.fold([*unchanged, *found])

    def _ids_of_unchanged(self, wanted: JobFilter) -> list[str]:
        if self._from_begin:
            return []
        is_other_order = self._live.tables.pauses().keys() != self.memory.tables.pauses().keys()
        if wanted.sort == TURN and is_other_order:
            wanted = replace(wanted, limit=0)
        return self._unchanged.ids(wanted)

    def dead(self, queues: Collection[str], since: int) -> list[DeadLetter]:
        """The dead jobs of these queues that were moved at or after `since`: unchanged ones without folding them."""
        rows = [] if self._from_begin else self._live.tables.dead(queues, since)
        unchanged = {*self._ids_of_unchanged(JobFilter(states=(State.DLQ,), limit=0))}
        self.fold_changed(State.DLQ)
        found = {row.id: row for row in rows if row.id in unchanged}
        found |= {row.id: row for row in self.memory.tables.dead(queues, since)}
        return sorted(found.values(), key=lambda row: (row.moved_at, row.id))

    def fold_first_due(self, limit: int) -> None:
        """Fold the pending jobs of each queue and priority that are due first, `limit` of each at least."""
        self._fold_both(lambda: self._unchanged.first_due(limit), JobFilter(states=(State.PENDING,)))

    def misdated(self, now: int, behind_for: int, job_id: str | None = None) -> list[Misdated]:
        """Of the folded jobs, or that one: see `misdated` in store/sql/misdated.py."""
        found = sorted(self._misdated_waits(now, job_id), key=lambda wait: wait.set_at)
        return measured(found, now, behind_for, lambda after: self._history.right_again(after, now))

    def _misdated_waits(self, now: int, job_id: str | None) -> Iterator[Wait]:
        sql = f"SELECT queue, priority, position, id FROM jobs WHERE state = '{State.PENDING}' AND due_at > ?"
        one: tuple[str, tuple[str, ...]] = ("", ()) if job_id is None else (" AND id = ?", (job_id,))
        for queue, priority, position, name in self.memory.engine.run(sql + one[0], (now, *one[1])):
            wait = self._wait_of(name)
            if wait is not None and wait.begin > now:
                yield Wait(queue, priority, position, name, wait.length, wait.set_at)

    def _wait_of(self, job_id: str) -> "_SetWait | None":
        """The wait of a pending job, if it has one, and the position of the event that set it."""
        job: Job | None = None
        wait: _SetWait | None = None
        for record in self._log.records(stream_id=job_id):
            job = evolve(job, record)
            if job is None or job.due_at is None or job.waits_from is None:
                wait = None
            elif wait is None or wait[:2] != (job.waits_from, job.due_at - job.waits_from):
                wait = _SetWait(job.waits_from, job.due_at - job.waits_from, record.position)
        return wait

    def fold(self, ids: Iterable[str]) -> None:
        """Fold these jobs into the tables, a damaged one up to its damage."""
        missing = [job_id for job_id in dict.fromkeys(ids) if job_id not in self._folded]
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
        for batch in [name for kind, name in kinds if kind == BATCH_KIND]:
            self._fold_batch(batch)
        rows = self._causes.rows({job.id: (job.spec.after, job.spec.if_unmet) for job in jobs})
        self.memory.engine.insert(INSERT_WAITS, rows)

    def _fold_batch(self, batch: str) -> None:
        """Fold all jobs that may be of a batch, also the purged ones."""
        unchanged = [] if self._from_begin else self._unchanged.purged(batch)
        self.fold([*self._ids_of_unchanged(JobFilter(batch=batch, limit=0)), *unchanged])
        self.fold([row.job_id for row in self._changed_now()])
