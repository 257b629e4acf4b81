"""The queue as it stood: a store's reading half, answered from the log up to a position.

`Past` folds the streams that a question needs into tables of its own, in memory, and then asks those what one
asks the live ones. Its time stands still at the moment that is looked at, so ages and waits are as they were
seen then. Workers' heartbeats are not part of history: the past has none. Nothing here is written to the log.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from typing import Any

from queuectl.domain.events import Enqueued, RecordedEvent, type_of
from queuectl.domain.machine import MOVES, State
from queuectl.store.projections import Values, count_key
from queuectl.store.protocol import (
    SETTINGS_STREAM,
    Count,
    Head,
    JobFilter,
    Standing,
    Store,
    StoredEvent,
    queue_stream,
)
from queuectl.store.sqlite.connection import MEMORY
from queuectl.store.sqlite.store import SqliteStore
from queuectl.store.stream_fold import Found, Life, lives
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


class Past(SqliteStore):
    """What `store` held at `position`; `moment` (microseconds, UTC) is what its clock shows. For reading alone."""

    def __init__(self, store: Store, position: int, moment: int) -> None:
        super().__init__(MEMORY, _StandingClock(moment))
        self.position, self.moment = position, moment
        self._store = store
        self._folded: set[str] = set()
        for prefix in (SETTINGS_STREAM, queue_stream("")):
            notes = store.log.notes(prefix, position)
            self._project_notes([note for note in notes if isinstance(note, RecordedEvent)])

    # ── the log, up to the position ─────────────────────────────────────────────────────────────────

    @property
    def base(self) -> Head:
        """See the protocol."""
        return self._store.log.base

    def head(self) -> Head:
        """See the protocol. The event at the position."""
        row = next(self.stored(after=self.position - 1), None)
        return Head(row.position, row.digest, row.recorded_at) if row else self.base

    def records(
        self, *, after: int = 0, until: int | None = None, stream_id: str | None = None
    ) -> Iterator[RecordedEvent]:
        """See the protocol."""
        return self._store.log.records(after=after, until=self._bounded(until), stream_id=stream_id)

    def stored(self, *, after: int = 0, until: int | None = None) -> Iterator[StoredEvent]:
        """See the protocol."""
        return self._store.log.stored(after=after, until=self._bounded(until))

    def examined(self, *, stream_id: str | None = None, until: int | None = None) -> Iterator[Found]:
        """See the protocol."""
        return self._store.log.examined(stream_id=stream_id, until=self._bounded(until))

    def streams(self, prefix: str, limit: int, until: int | None = None) -> list[str]:
        """See the protocol."""
        return self._store.log.streams(prefix, limit, self._bounded(until))

    def version(self, stream_id: str) -> int:
        """See the protocol."""
        return max((record.version for record in self.records(stream_id=stream_id)), default=0)

    def _bounded(self, until: int | None) -> int:
        return self.position if until is None else min(until, self.position)

    # ── the tables, folded as far as a question needs them ──────────────────────────────────────────

    def job(self, job_id: str) -> dict[str, Any] | None:
        """See the protocol."""
        self._fold([job_id])
        return super().job(job_id)

    def jobs(self, wanted: JobFilter) -> list[dict[str, Any]]:
        """See the protocol. When the order is that of enqueueing, no more are folded than are wanted."""
        found = self._candidates(wanted)
        if wanted.sort == "created" and wanted.limit and not wanted.failed and not wanted.tags:
            found = found[-wanted.limit :] if wanted.descending else found[: wanted.limit]
        self._fold(found)
        return super().jobs(wanted)

    def dlq(self, job_id: str | None = None) -> list[dict[str, Any]]:
        """See the protocol."""
        self._fold(self._candidates(JobFilter(states=(State.DLQ,))) if job_id is None else [job_id])
        return super().dlq(job_id)

    def claimable(
        self,
        queues: Collection[str],
        limit: int,
        now: int,
        skip: Collection[str] = (),
        behind_for: int | None = None,
    ) -> list[str]:
        """See the protocol."""
        self._fold(self._candidates(JobFilter(states=(State.PENDING,))))
        return super().claimable(queues, limit, now, skip, behind_for)

    def oldest_due(self, now: int) -> dict[str, Any] | None:
        """See the protocol."""
        self._fold(self._candidates(JobFilter(states=(State.PENDING,))))
        return super().oldest_due(now)

    def counts(self) -> list[Count]:
        """See the protocol. From each job's last move, without a fold."""
        found: Counter[tuple[str, State]] = Counter()
        for (queue, move), jobs in Counter((row.queue, row.move) for row in self._standing).items():
            found[queue, _STATES[move]] += jobs
        return [Count(*key, jobs) for key, jobs in sorted(found.items()) if key[1] is not State.PURGED]

    @cached_property
    def _standing(self) -> list[Standing]:
        return self._store.log.standing(self.position)

    def _candidates(self, wanted: JobFilter) -> list[str]:
        """Ids of the jobs that the filter may take, as far as one sees that without a fold, the oldest first."""
        states = {*wanted.states, *((State.PENDING,) if wanted.failed else ())} or {*State} - {State.PURGED}
        moves = {move for move, state in _STATES.items() if state in states}
        since = (wanted.since or 0) // SECOND * SECOND
        return [
            row.job_id
            for row in self._standing
            if row.move in moves and row.recorded_at >= since and row.queue in (wanted.queues or (row.queue,))
        ]

    def _fold(self, ids: Iterable[str]) -> None:
        """Bring these jobs into the tables: a damaged one as far as it can be believed."""
        missing = [job_id for job_id in ids if job_id not in self._folded]
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            self._carry([life for job_id in batch for life in lives(self.examined(stream_id=job_id))])
            self._folded.update(batch)

    def _carry(self, found: Iterable[Life]) -> None:
        counts: Counter[tuple[str, int, str]] = Counter()
        fresh: dict[str, list[Values]] = {}
        for life in found:
            counts.update(filter(None, [count_key(life.job)]))
            for table, row in life.rows().items():
                fresh.setdefault(table, []).append(row)
        for table, rows in fresh.items():
            self._add(table, rows)
        self._add_counts(counts)
