"""One page of jobs, the newest first, found without reading the whole table.

Where no index serves a filter (a queue, a tag, a text), the rows are looked through in windows, from the newest back,
until the page is full or the time is over; then the page says how far it looked.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from queuectl.application.queue import Queue
from queuectl.runtime import SystemClock
from queuectl.store.protocol import Tables
from queuectl.store.rows import JobFilter

__all__ = ["JobPage", "job_page"]

WINDOW = 4000
"""Positions in the first window; the next ones are twice as large while they are quick."""
TIME = 100_000
"""Microseconds after which no further window is looked through."""


class JobPage(Struct, frozen=True):
    """Rows of `jobs`. `before`: the position before which the next page begins; None when there are no more.

    `unfinished`: the time was over before the page was full.
    """

    rows: Sequence[dict[str, Any]]
    before: int | None
    unfinished: bool = False


def job_page(queue: Queue, wanted: JobFilter, limit: int, before: int | None = None) -> JobPage:
    """The newest `limit` jobs of the filter, or those before a position."""
    end = queue.store.log.head().position + 1 if before is None else before
    plain = replace(wanted, sort="created", descending=True, limit=limit + 1)
    if _is_indexed(wanted):
        rows = _of_each_state(queue.store.tables, replace(plain, positions=(0, end)))
        return _page(rows, limit)
    return _looked_for(queue, plain, limit, end)


def _is_indexed(wanted: JobFilter) -> bool:
    if wanted.ids is not None:
        return True
    others = (
        wanted.failed,
        wanted.held,
        wanted.queues,
        wanted.tags,
        wanted.since,
        wanted.ended_by,
        wanted.batch,
        wanted.origin,
        wanted.text,
    )
    return not any(others)


def _of_each_state(tables: Tables, wanted: JobFilter) -> list[dict[str, Any]]:
    """The newest of each state: the index has one state after another."""
    if len(wanted.states) < 2:
        return tables.jobs(wanted)
    rows = [row for state in wanted.states for row in tables.jobs(replace(wanted, states=(state,)))]
    return sorted(rows, key=lambda row: -row["position"])


def _looked_for(queue: Queue, wanted: JobFilter, limit: int, end: int) -> JobPage:
    """The last jobs before the position `end`, looked for in windows that end there."""
    clock, size, base = SystemClock(), WINDOW, queue.store.log.base.position
    rows, began = list[dict[str, Any]](), clock.monotonic()
    while end > base and len(rows) <= limit:
        start = max(base, end - size)
        rows += queue.store.tables.jobs(replace(wanted, positions=(start, end)))
        end = start
        took = clock.monotonic() - began
        if took < TIME // 4:
            size *= 2
        if took >= TIME and len(rows) <= limit and end > base:
            return JobPage(rows, end, unfinished=True)
    return _page(rows, limit)


def _page(rows: list[dict[str, Any]], limit: int) -> JobPage:
    return JobPage(rows[:limit], rows[limit - 1]["position"] if len(rows) > limit else None)
