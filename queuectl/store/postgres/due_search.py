"""Searches for due jobs in one statement that skips the jobs already claimed.

Index entries of claimed jobs stay until vacuum removes them, and any old snapshot in the database prevents that; a
search from the beginning would read past all of them. Jobs become due in log order, except those enqueued for a past
time. So the search starts from the beginning once a second, and when it finds too few jobs.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.runtime import SystemClock
from queuectl.store.sql.tables import OPEN_LANES

__all__ = ["DueSearch"]

FROM_THE_BEGINNING_EVERY = 1_000_000

_encode = msgspec.json.Encoder().encode

Ask = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

_DUE = f"jobs WHERE state = '{State.PENDING}' AND queue = lane.queue AND priority = lane.priority AND due_at <= ?4"
_SEARCH = f"""
SELECT lane.queue, lane.priority, due.due_at, due.id
FROM (SELECT queue, priority, floor FROM counts
      LEFT JOIN json_to_recordset(CAST(?1 AS json)) AS known (queue text, priority bigint, floor bigint)
      USING (queue, priority)
      WHERE {OPEN_LANES} AND (?2 = '[]' OR queue IN (SELECT json_array_elements_text(CAST(?2 AS json))))) AS lane,
LATERAL (SELECT CASE WHEN (SELECT count(*) FROM (SELECT FROM {_DUE} AND due_at >= lane.floor LIMIT ?3) AS enough) = ?3
         THEN lane.floor ELSE {-1 << 63} END AS place) AS first,
LATERAL (SELECT due_at, position, id FROM {_DUE} AND due_at >= first.place ORDER BY due_at, position LIMIT ?3) AS due
ORDER BY lane.priority DESC, due.due_at, due.position LIMIT ?3
"""
"""One index seek for each queue and priority with pending jobs: from its floor on, if enough jobs are due there."""


class DueSearch:
    """Searches with `ask`. Remembers, by queue and priority, when the first job was due that the last search found."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._floors: dict[tuple[str, int], int] = {}
        self._clock, self._until = SystemClock(), 0

    def search(self, queues: Collection[str], limit: int, now: int) -> list[str]:
        """Ids of up to `limit` jobs that are due at `now`, in claiming order."""
        floors = [{"queue": key[0], "priority": key[1], "floor": floor} for key, floor in self._known().items()]
        found = self._ask(_SEARCH, (_json(floors), _json(list(queues)), limit, now))
        for queue, priority, due_at, _ in reversed(found):
            self._floors[queue, priority] = due_at
        return [job_id for *_, job_id in found]

    def _known(self) -> dict[tuple[str, int], int]:
        """The remembered due times (floors); none once a second, so that the search then starts from the beginning."""
        if self._clock.monotonic() >= self._until:
            self._floors.clear()
            self._until = self._clock.monotonic() + FROM_THE_BEGINNING_EVERY
        return self._floors

    def add(self, jobs: Sequence[Job | None]) -> None:
        """Forget floors above jobs that have just become pending."""
        for job in jobs:
            if job is not None and job.due_at is not None:
                lane = (job.spec.queue, job.spec.priority)
                if job.due_at < self._floors.get(lane, job.due_at):
                    del self._floors[lane]


def _json(value: object) -> str:
    return _encode(value).decode()
