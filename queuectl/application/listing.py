"""The jobs that `list` shows: a filter from its texts, the rows, and how many there are in all."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from queuectl.application.overview import SHOWN_STATES
from queuectl.application.queue import Queue
from queuectl.domain.machine import ALIASES, State
from queuectl.errors import UsageError
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter
from queuectl.store.sql.tables import SORTS

__all__ = ["FAILED", "SORTS", "Listing", "job_filter", "list_jobs"]

FAILED = "failed"
"""A state to filter by that is none of the machine's: pending after an attempt that failed."""


class Listing(Struct, frozen=True):
    """Rows of `jobs`, how many the filter takes without its limit, and the log's time."""

    rows: list[dict[str, Any]]
    total: int
    now: int


def job_filter(
    states: Sequence[str], queues: Sequence[str], tags: dict[str, str], since: int | None, sort: str
) -> JobFilter:
    """The filter for these states (or their aliases), sorted by a key of SORTS, descending with `-` before it.

    Raises UsageError.
    """
    key = sort.removeprefix("-")
    if key not in SORTS:
        raise UsageError(f"cannot sort by {sort}: the keys are {', '.join(SORTS)}; with - the greatest comes first")
    return JobFilter(
        states=tuple(_state(text) for text in states if text != FAILED),
        failed=FAILED in states,
        queues=tuple(queues),
        tags=tags,
        since=since,
        sort=key,
        descending=sort.startswith("-"),
        limit=0,
    )


def _state(text: str) -> State:
    known = {**{state.value: state for state in SHOWN_STATES}, **ALIASES}
    if text not in known:
        raise UsageError(f"state {text}: the states are {', '.join([*known, FAILED])}")
    return known[text]


def list_jobs(queue: Queue, wanted: JobFilter, limit: int) -> Listing:
    """At most `limit` (0: all) of the jobs that the filter takes."""
    rows = queue.store.tables.jobs(replace(wanted, limit=limit))
    cut = limit and len(rows) == limit
    return Listing(rows, _count(queue.store, wanted) if cut else len(rows), queue.store.log.wall())


def _count(store: Store, wanted: JobFilter) -> int:
    """How many jobs there are without the limit: from the counts when they can tell, else by looking at the rows."""
    if wanted.failed or wanted.tags or wanted.since is not None:
        return len(store.tables.ids(wanted))
    return sum(
        count.jobs
        for count in store.tables.counts()
        if count.state in (wanted.states or SHOWN_STATES) and count.queue in (wanted.queues or (count.queue,))
    )
