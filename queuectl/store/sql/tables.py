"""Queries of the tables that are derived from the log, in SQL that both engines understand."""

from collections.abc import Callable, Collection
from itertools import groupby, starmap
from typing import TYPE_CHECKING, Any, Protocol

from queuectl.domain.job import Job, misdated_wait
from queuectl.domain.machine import LIVE, State
from queuectl.domain.names import PAUSE_ALL
from queuectl.store.projections import DLQ
from queuectl.store.rows import Count, DeadLetter, JobFilter
from queuectl.store.sql.engine import Engine

if TYPE_CHECKING:
    from queuectl.store.sql.misdated import Misdated

    Late = Callable[[int, int, str | None], list[Misdated]]

__all__ = ["OPEN_LANES", "PENDING_LANES", "Tables", "state_of"]

PENDING_LANES = f"SELECT queue, priority FROM counts WHERE state = '{State.PENDING}' AND jobs > 0"
"""Selects the queues and priorities that have pending jobs."""

OPEN_LANES = f"""
state = '{State.PENDING}' AND jobs > 0
AND NOT EXISTS (SELECT 1 FROM pauses WHERE pauses.queue IN (counts.queue, '{PAUSE_ALL}'))
"""
"""Selects the rows of `counts` (queue and priority) from which jobs may be claimed."""
_LANES = f"SELECT queue, priority FROM counts WHERE {OPEN_LANES} ORDER BY priority DESC"


class DueSearch(Protocol):
    """An engine's own search for due jobs."""

    def search(self, queues: Collection[str], limit: int, now: int) -> list[str]:
        """Ids of up to `limit` jobs that are due at `now`, in claiming order."""


class Tables:
    """Implements `protocol.Tables`. `due_search`, if given, is used while the wall clock is right.

    `late`, if given, finds the misdated jobs as `misdated` does, where the events are not in this database.
    """

    def __init__(self, engine: Engine, due_search: DueSearch | None = None, late: "Late | None" = None) -> None:
        self._engine, self._due_search, self._late = engine, due_search, late

    def holder(self, unique: str) -> str | None:
        """The live job that holds a unique key."""
        live = ", ".join(f"'{state}'" for state in LIVE)
        found = self._engine.run(f"SELECT id FROM jobs WHERE unique_key = ? AND state IN ({live})", (unique,))
        return found[0][0] if found else None

    def claimable(
        self,
        queues: Collection[str],
        limit: int,
        now: int,
        skip: Collection[str] = (),
        behind_for: int | None = None,
    ) -> list[str]:
        """Ids of jobs to claim next, in claiming order; no queues means all of them.

        One index seek for each queue and priority with pending jobs, the highest priority first.
        """
        if self._due_search is not None and behind_for is None:
            found = self._due_search.search(queues, limit + len(skip), now)
            return [job_id for job_id in found if job_id not in skip][:limit]
        chosen: list[str] = []
        late = {} if behind_for is None else self._misdated_by_lane(now, behind_for)
        for _, lanes in groupby(self._lanes(queues), key=lambda lane: lane[1]):
            due: list[tuple[int, int, str]] = []
            for queue, priority in lanes:
                due += self._due(queue, priority, now, limit + len(skip))
                due += [(0, each.position, each.id) for each in late.get((queue, priority), ()) if not each.left]
            chosen += [job_id for _, _, job_id in sorted(due) if job_id not in skip]
            if len(chosen) >= limit:
                break
        return chosen[:limit]

    def _lanes(self, queues: Collection[str]) -> list[tuple[Any, ...]]:
        """(queue, priority) of pending jobs that may be claimed."""
        lanes = self._engine.run(_LANES)
        return [lane for lane in lanes if not queues or lane[0] in queues]

    def _misdated_by_lane(self, now: int, behind_for: int) -> dict[tuple[str, int], "list[Misdated]"]:
        """Jobs that were recorded while the clock was ahead, by queue and priority."""
        found: dict[tuple[str, int], list[Misdated]] = {}
        for each in self._misdated(now, behind_for):
            found.setdefault((each.queue, each.priority), []).append(each)
        return found

    def _misdated(self, now: int, behind_for: int, job_id: str | None = None) -> "list[Misdated]":
        if self._late is not None:
            return self._late(now, behind_for, job_id)
        from queuectl.store.sql.misdated import misdated  # a clock was wrong

        return misdated(self._engine, now, behind_for, job_id)

    def waited(self, job: Job | Exception | None, now: int, behind_for: int | None) -> int | None:
        """`behind_for` of `is_due` for this job: the time for which it has waited, if a clock ahead of `now` set it."""
        if behind_for is None or not isinstance(job, Job) or misdated_wait(job, now) is None:
            return behind_for
        found = self._misdated(now, behind_for, job.id)
        return found[0].waited if found else behind_for

    def _due(self, queue: str, priority: int, now: int, limit: int) -> list[Any]:
        return self._engine.run(
            f"SELECT due_at, position, id FROM jobs WHERE state = '{State.PENDING}' AND queue = ? AND priority = ?"
            " AND due_at IS NOT NULL AND due_at <= ? ORDER BY due_at, position LIMIT ?",
            (queue, priority, now, limit),
        )

    def next_due(self, queues: Collection[str], now: int = 0, behind_for: int | None = None) -> int | None:
        """The earliest time at which a pending job is due in these queues, paused ones excepted."""
        lanes = self._lanes(queues)
        moments = [moment for lane in lanes if (moment := self._first_due(*lane)) is not None]
        if behind_for is not None:
            late = self._misdated_by_lane(now, behind_for)
            moments += [now + each.left for lane in lanes for each in late.get(lane, ())]
        return min(moments, default=None)

    def _first_due(self, queue: str, priority: int) -> int | None:
        found = self._engine.run(
            f"SELECT due_at FROM jobs WHERE state = '{State.PENDING}' AND queue = ? AND priority = ?"
            " AND due_at IS NOT NULL ORDER BY due_at LIMIT 1",
            (queue, priority),
        )
        return found[0][0] if found else None

    def oldest_due(self, now: int) -> dict[str, Any] | None:
        """The row of the pending job that has been due the longest; None if none is due."""
        due = [row for queue, priority in self._engine.run(PENDING_LANES) for row in self._due(queue, priority, now, 1)]
        return self.job(min(due)[2]) if due else None

    def oldest_due_by_queue(self) -> dict[str, int]:
        """The earliest due time of the pending jobs of each queue: one index seek for each queue and priority."""
        first = (
            f"SELECT due_at FROM jobs WHERE state = '{State.PENDING}' AND queue = lane.queue"
            " AND priority = lane.priority AND due_at IS NOT NULL ORDER BY due_at LIMIT 1"
        )
        found = self._engine.run(
            f"SELECT queue, min(first) FROM (SELECT queue, ({first}) AS first FROM ({PENDING_LANES}) AS lane) AS lanes"
            " WHERE first IS NOT NULL GROUP BY queue ORDER BY queue"
        )
        return dict(found)

    def job(self, job_id: str) -> dict[str, Any] | None:
        """One row of `jobs`."""
        from queuectl.store.sql.job_filter import row_of_job  # `enqueue` reads no rows of jobs

        return row_of_job(self._engine, job_id)

    def jobs(self, wanted: JobFilter) -> list[dict[str, Any]]:
        """Rows of `jobs`."""
        from queuectl.store.sql.job_filter import rows_of_jobs

        return rows_of_jobs(self._engine, wanted)

    def ids(self, wanted: JobFilter) -> list[str]:
        """Only the ids of those rows."""
        from queuectl.store.sql.job_filter import chosen

        return [row[0] for row in chosen(self._engine, "id", wanted)]

    def dlq(self, job_id: str | None = None) -> list[dict[str, Any]]:
        """Rows of `dlq`, the oldest first."""
        where = "" if job_id is None else " WHERE id = ?"
        parameters = () if job_id is None else (job_id,)
        found = self._engine.run(f"SELECT {', '.join(DLQ)} FROM dlq{where} ORDER BY moved_at, id", parameters)
        return [dict(zip(DLQ, row, strict=True)) for row in found]

    def dead(self, queues: Collection[str], since: int) -> list[DeadLetter]:
        """The dead jobs of these queues (none: all) that were moved at or after `since`, oldest first."""
        found = self._engine.run(
            "SELECT dlq.id, coalesce(dlq.signature, ''), dlq.moved_at, coalesce(jobs.queue, ''),"
            " coalesce(dlq.last_error, '') FROM dlq LEFT JOIN jobs ON jobs.id = dlq.id"
            " WHERE dlq.moved_at >= ? ORDER BY dlq.moved_at, dlq.id",
            (since,),
        )
        return [row for row in starmap(DeadLetter, found) if not queues or row.queue in queues]

    def counts(self, wanted: JobFilter | None = None) -> list[Count]:
        """Jobs per queue and state, without a scan; with a filter those that it selects."""
        column, table, where, parameters = "sum(jobs)", "counts", "", list[Any]()
        if wanted is not None:
            from queuectl.store.sql.job_filter import conditions

            where, parameters = conditions(self._engine, wanted)
            column, table = "count(*)", "jobs"
        found = self._engine.run(
            f"SELECT queue, state, CAST({column} AS BIGINT) FROM {table}{where} GROUP BY queue, state"
            " ORDER BY queue, state",
            parameters,
        )
        return [Count(queue, state, jobs) for queue, name, jobs in found if (state := state_of(name))]

    def settings(self) -> dict[str, str]:
        """The values of `config set`, by key."""
        return dict(self._engine.run("SELECT key, value FROM settings ORDER BY key"))

    def pauses(self) -> dict[str, dict[str, Any]]:
        """Paused queues by name, with `paused_at` (UNIX seconds) and `paused_by`."""
        found = self._engine.run("SELECT queue, paused_at, paused_by FROM pauses ORDER BY queue")
        return {queue: {"paused_at": since, "paused_by": by} for queue, since, by in found}

    def processing(self) -> list[tuple[str, int]]:
        """(id, run) of every job that a worker has claimed."""
        found = self._engine.run(
            f"SELECT id, run FROM jobs WHERE state = '{State.PROCESSING}' AND locked_by IS NOT NULL"
        )
        return [(job_id, run) for job_id, run in found]


def state_of(name: str) -> State | None:
    """The state of that name; None for any other text, which only a corrupt table holds."""
    return State(name) if name in State.__members__.values() else None
