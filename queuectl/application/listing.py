"""The jobs that `list` and `dlq list` show: a filter from its texts, the rows, and how many there are in all."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from queuectl.application.late_starts import late_starts
from queuectl.application.overview import SHOWN_STATES
from queuectl.application.queue import Queue
from queuectl.application.state_words import state_filter
from queuectl.domain.machine import FINISHED, State
from queuectl.domain.relations import ORIGINS
from queuectl.errors import UsageError
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter
from queuectl.store.sql.job_filter import SHOWN_COLUMNS, SORTS, TURN
from queuectl.units import local_time, quoted

__all__ = [
    "EVERY",
    "FIELDS",
    "SORT_KEYS",
    "TURN",
    "JobFilter",
    "Listing",
    "Selection",
    "any_filter",
    "check_origin",
    "dead_letters",
    "job_filter",
    "job_rows",
    "known_number",
    "list_jobs",
    "narrowed",
]

SORT_KEYS = (TURN, *SORTS)

FIELDS = (*SHOWN_COLUMNS, "number", "started_at", "pid", "host")
"""The fields of a job in `list --json`, in their order."""


class Selection(Struct, frozen=True):
    """Jobs by the texts of the filters that every command shares; an empty one means all. `since`: microseconds."""

    states: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    tags: Mapping[str, str] = {}
    since: int | None = None
    batch: str | None = None
    signature: str | None = None

    def __bool__(self) -> bool:
        return bool(self.states or self.queues or self.tags or self.batch or self.signature or self.since is not None)

    def __str__(self) -> str:
        """`state dlq, queue ci, tag a=b`."""
        words = [*(f"state {each}" for each in self.states), *(f"queue {each}" for each in self.queues)]
        words += [f"tag {name}={value}" for name, value in self.tags.items()]
        words += [] if self.batch is None else [f"batch {self.batch}"]
        words += [] if self.signature is None else [f"signature {self.signature}"]
        return ", ".join([*words, *([] if self.since is None else [f"since {local_time(self.since)}"])])


EVERY = Selection()
"""No filter."""


def check_origin(text: str) -> str:
    """An origin as people give it: a kind, or `schedule:nightly`. Raises UsageError."""
    if text.partition(":")[0] not in ORIGINS:
        raise UsageError(f"--origin {quoted(text)}: it begins with one of {', '.join(ORIGINS)}")
    return text


class Listing(Struct, frozen=True):
    """Rows of `jobs`, how many the filter takes without its limit, the wall clock, and the starts of late jobs.

    `starts`: by id, when jobs start whose due time was recorded by a clock that was ahead.
    """

    rows: list[dict[str, Any]]
    total: int
    now: int
    starts: Mapping[str, int] = {}


def job_filter(selected: Selection, sort: str) -> JobFilter:
    """The filter for these jobs, sorted by TURN, or by a key of SORTS, descending with `-`.

    Raises UsageError.
    """
    key = sort.removeprefix("-")
    if key not in SORTS and sort != TURN:
        raise UsageError(
            f"cannot sort by {quoted(sort)}: use {', '.join(SORT_KEYS)}, or one of them after - for the reverse order"
        )
    wanted = replace(state_filter(selected.states), sort=key, descending=sort.startswith("-"), limit=0)
    return narrowed(wanted, selected)


def any_filter(selected: Selection) -> JobFilter | None:
    """The filter for these jobs, None when all are selected. Raises UsageError."""
    return job_filter(selected, "-created") if selected else None


def narrowed(wanted: JobFilter, selected: Selection) -> JobFilter:
    """The filter, only for jobs that are selected; their states are not looked at."""
    return replace(
        wanted,
        queues=selected.queues,
        tags=selected.tags,
        since=selected.since,
        batch=selected.batch,
        signature=selected.signature,
    )


def list_jobs(queue: Queue, wanted: JobFilter, limit: int) -> Listing:
    """At most `limit` (0: all) of the jobs that the filter takes, and how many it takes in all."""
    rows = job_rows(queue, wanted, limit)
    cut, now = limit and len(rows) == limit, queue.store.log.wall()
    total = _count(queue.store, wanted) if cut else len(rows)
    return Listing(rows, total, now, late_starts(queue.store, rows, now))


def job_rows(queue: Queue, wanted: JobFilter, limit: int) -> list[dict[str, Any]]:
    """At most `limit` (0: all) of the jobs that the filter takes."""
    if wanted.sort == TURN:
        return _by_turn(queue.store, wanted, limit)
    return queue.store.tables.jobs(replace(wanted, limit=limit))


def _by_turn(store: Store, wanted: JobFilter, limit: int) -> list[dict[str, Any]]:
    """The running jobs, the oldest first; pending ones in the order in which they start; the rest, the newest first."""
    states = wanted.states or (() if wanted.failed or wanted.held else tuple(SHOWN_STATES))
    plain = replace(wanted, failed=False, held=False, sort="created")
    rows = _some(store, replace(plain, states=_among(states, (State.PROCESSING,)), descending=False), limit, 0)
    waiting = replace(plain, states=_among(states, (State.PENDING,)), sort="due", descending=False)
    if not waiting.states:
        waiting = replace(waiting, failed=wanted.failed, held=wanted.held)
    rows += _pending(store, waiting, limit, len(rows))
    return rows + _some(store, replace(plain, states=_among(states, FINISHED), descending=True), limit, len(rows))


def _among(states: Sequence[State], group: Sequence[State]) -> tuple[State, ...]:
    return tuple(state for state in group if state in states)


def _some(store: Store, wanted: JobFilter, limit: int, have: int) -> list[dict[str, Any]]:
    """Rows of the wanted states, if any, no more than make up the limit (0: all) with those that one has already."""
    if not (wanted.states or wanted.failed or wanted.held) or (limit and have >= limit):
        return []
    return store.tables.jobs(replace(wanted, limit=limit and limit - have))


def _pending(store: Store, wanted: JobFilter, limit: int, have: int) -> list[dict[str, Any]]:
    """Those that are due in the order of claiming, paused ones, then the others by their due time, held ones last."""
    if not (wanted.states or wanted.failed or wanted.held) or (limit and have >= limit):
        return []
    now, behind_for, room = store.log.wall(), store.log.behind_for(), limit and limit - have
    if room and wanted.states == (State.PENDING,) and wanted.is_counted:
        # Jobs that are due are found by seeks, however many there are.
        ids = store.tables.claimable(wanted.queues, room, now, behind_for=behind_for)
        if len(ids) == room:
            return list(filter(None, map(store.tables.job, ids)))
    rows = store.tables.jobs(replace(wanted, sort=TURN, now=now, limit=room))
    return rows if behind_for is None else _with_late(store, rows, now, behind_for)


def _with_late(store: Store, rows: list[dict[str, Any]], now: int, behind_for: int) -> list[dict[str, Any]]:
    """The rows in their order, but jobs whose due time a clock that was ahead recorded by when they start."""
    starts = late_starts(store, rows, now)
    if not starts:
        return rows
    line = {job_id: place for place, job_id in enumerate(store.tables.claimable((), len(rows), now, (), behind_for))}

    def turn(row: dict[str, Any]) -> tuple[int, float]:
        due = starts.get(row["id"], row["due_at"])
        return line.get(row["id"], len(line)), inf if due is None else due

    return sorted(rows, key=turn)


def dead_letters(queue: Queue, selected: Selection = EVERY) -> list[dict[str, Any]]:
    """The selected rows of `dlq`, the oldest first, each with the other columns of its job."""
    wanted = narrowed(JobFilter(states=(State.DLQ,), limit=0), selected)
    jobs = {row["id"]: row for row in queue.store.tables.jobs(wanted)}
    rows = queue.store.tables.dlq()
    return [{**row, **jobs.get(row["id"], {})} for row in rows if not selected or row["id"] in jobs]


def _count(store: Store, wanted: JobFilter) -> int:
    """How many jobs there are without the limit: from the counts when they know it, else by looking at the rows."""
    known = known_number(store, wanted)
    return len(store.tables.ids(replace(wanted, sort="created"))) if known is None else known


def known_number(store: Store, wanted: JobFilter) -> int | None:
    """How many jobs the filter takes without its limit, if that is known without looking at the rows."""
    if not wanted.is_counted:
        return None
    return sum(
        count.jobs
        for count in store.tables.counts()
        if count.state in (wanted.states or SHOWN_STATES) and count.queue in (wanted.queues or (count.queue,))
    )
