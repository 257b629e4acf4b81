"""The jobs that no event has changed since a position: the live tables show them as they were at that position.

Jobs that wait for others are left out: how a dependency stands can change without an event of the job that waits.
"""

from msgspec.structs import replace

from queuectl.domain.machine import State
from queuectl.store.rows import Count, JobFilter
from queuectl.store.sql.engine import Engine
from queuectl.store.sql.job_filter import UNCHANGED
from queuectl.store.sql.tables import PENDING_LANES, Tables, state_of

__all__ = ["Unchanged"]

_COUNTS = """
SELECT queue, state, CAST(sum(jobs) AS BIGINT) FROM (
    SELECT queue, state, jobs FROM counts
    UNION ALL SELECT queue, state, -1 FROM jobs WHERE id IN (SELECT stream_id FROM events WHERE position > ?1)
    UNION ALL SELECT queue, state, -1 FROM jobs WHERE waiting IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM events WHERE events.stream_id = jobs.id AND +events.position > ?1)
    UNION ALL SELECT NULL, NULL, coalesce(max(position), 0) FROM events
) AS parts GROUP BY queue, state
"""
"""One statement, so that the counts, the changed jobs and the log's end are those of one moment."""

_FIRST_DUE = f"""
SELECT id FROM jobs WHERE state = '{State.PENDING}' AND queue = ? AND priority = ? AND due_at IS NOT NULL
AND {UNCHANGED} ORDER BY due_at, position LIMIT ?
"""


class Unchanged:
    """Implements `protocol.Unchanged`, for the jobs without an event after `position`."""

    def __init__(self, engine: Engine, position: int) -> None:
        self._engine, self._position = engine, position
        self._tables = Tables(engine)

    def ids(self, wanted: JobFilter) -> list[str]:
        """Ids of these jobs that the filter selects, as `Tables.ids`."""
        return self._tables.ids(replace(wanted, unchanged_since=self._position))

    def counts(self) -> tuple[list[Count], int]:
        """These jobs per queue and state, and the log's end when they were counted."""
        found = self._engine.run(_COUNTS, (self._position,))
        counts = [
            Count(queue, state, jobs) for queue, name, jobs in found if name and jobs and (state := state_of(name))
        ]
        return counts, next((end for _, name, end in found if name is None), 0)

    def first_due(self, limit: int) -> list[str]:
        """Of each queue and priority the ids of the pending ones that are due first."""
        lanes = self._engine.run(PENDING_LANES)
        return [
            job_id
            for queue, priority in lanes
            for (job_id,) in self._engine.run(_FIRST_DUE, (queue, priority, self._position, limit))
        ]

    def in_batches(self) -> list[str]:
        """Ids of these jobs that are in a batch."""
        sql = f"SELECT id FROM jobs WHERE batch IS NOT NULL AND {UNCHANGED}"
        return [job_id for (job_id,) in self._engine.run(sql, (self._position,))]

    def purged(self, batch: str) -> list[str]:
        """Ids of the purged jobs of a batch."""
        sql = (
            "SELECT id FROM purged WHERE batch = ? AND NOT EXISTS"
            " (SELECT 1 FROM events WHERE stream_id = purged.id AND +events.position > ?)"
        )
        return [job_id for (job_id,) in self._engine.run(sql, (batch, self._position))]
