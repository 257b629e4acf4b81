"""The overview that `status` shows: jobs by queue and state, what runs, what is next, pauses, and the workers."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from msgspec.structs import asdict, replace

from queuectl.application.queue import Queue
from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.domain.names import PAUSE_ALL
from queuectl.render import json_shapes
from queuectl.store.errors import DamagedEventError
from queuectl.store.protocol import Store
from queuectl.store.rows import Count, JobFilter
from queuectl.units import SECOND, format_time

__all__ = ["SHOWN_STATES", "overview", "running"]

SHOWN_STATES = [state for state in State if state is not State.PURGED]
EVERY_JOB = JobFilter()


def overview(queue: Queue, *, live: bool, wanted: JobFilter | None = None) -> tuple[dict[str, Any], int]:
    """The overview in the shape of `status --json`. `live`: the store is the present, so workers are known.

    `wanted`: only of the jobs that this filter selects. Also returns the log's time, in microseconds.
    """
    from queuectl.application.schedule_views import late_schedules  # most commands need only SHOWN_STATES from here
    from queuectl.application.workers import workers

    store, now = queue.store, queue.store.log.wall()
    queues = _queues(store.tables.counts(wanted))
    oldest, due = _due(store, now, live) if wanted is None else _due_of(store, now, wanted)
    seen = workers(queue) if live else None
    retrying = _retrying(store, live, wanted or EVERY_JOB)
    waiting, held = _waiting(store, wanted)
    shown = {
        "queues": queues,
        "states": {state: sum(row[state] for row in queues) for state in SHOWN_STATES},
        "paused": [
            {"queue": name, **row, "paused_at": format_time(row["paused_at"] * SECOND)}
            for name, row in store.tables.pauses().items()
        ],
        "workers": None if seen is None else list(map(json_shapes.worker, seen)),
        "oldest_due": json_shapes.job(oldest) if oldest else None,
        "running": _running(store, wanted or EVERY_JOB),
        "retrying": retrying,
        "waiting": waiting,
        "held": held,
        "failed": retrying + sum(row[State.DLQ] for row in queues),
        "next_due": None if due is None else format_time(due),
        "late_schedules": [] if seen is None else [asdict(each) for each in late_schedules(store)],
        "unserved": None if seen is None else _unserved(queue, queues, seen),
    }
    return shown, now


def _running(store: Store, wanted: JobFilter) -> list[dict[str, Any]]:
    """The running jobs in the shape of their JSON, the first to start first."""
    rows = store.tables.jobs(replace(wanted, states=(State.PROCESSING,), descending=False, limit=0))
    jobs = running(store, rows)
    return [json_shapes.job(row, jobs.get(row["id"])) for row in sorted(rows, key=lambda row: row["locked_at"] or 0)]


def running(store: Store, rows: Iterable[dict[str, Any]]) -> dict[str, Job]:
    """Those of these jobs that run, by id, as their events make them; damaged ones are left out."""
    found = dict[str, Job]()
    for row in rows:
        if row["state"] == State.PROCESSING:
            with suppress(DamagedEventError):
                job = store.log.load(row["id"])
                found |= {job.id: job} if job is not None else {}
    return found


def _waiting(store: Store, wanted: JobFilter | None) -> tuple[int, int]:
    """How many jobs wait for others, and how many of these are held."""
    if wanted is None:
        found = store.waits.by_queue()
        return sum(each.jobs for each in found), sum(each.held for each in found)
    dependent = replace(wanted, states=(State.PENDING,), dependent=True, limit=0)
    waiting = len(store.tables.ids(dependent)) - len(store.tables.ids(replace(dependent, timed=True)))
    return waiting, len(store.tables.ids(replace(wanted, held=True, limit=0)))


def _due(store: Store, now: int, live: bool) -> tuple[dict[str, Any] | None, int | None]:
    """The job that has been due the longest, and the earliest due time in queues that are not paused."""
    return store.tables.oldest_due(now), store.tables.next_due((), now, store.log.behind_for() if live else None)


def _due_of(store: Store, now: int, wanted: JobFilter) -> tuple[dict[str, Any] | None, int | None]:
    timed = replace(wanted, states=(State.PENDING,), timed=True, sort="due", descending=False, limit=1)
    first = store.tables.jobs(timed)
    oldest = first[0] if first and first[0]["due_at"] <= now else None
    paused = store.tables.pauses()
    queues = {count.queue for count in store.tables.counts(wanted)} - paused.keys()
    if PAUSE_ALL in paused or not queues:
        return oldest, None
    coming = store.tables.jobs(replace(timed, queues=tuple(queues)))
    return oldest, coming[0]["due_at"] if coming else None


def _retrying(store: Store, live: bool, wanted: JobFilter) -> int:
    """How many pending jobs wait after a failed attempt."""
    failed = replace(wanted, failed=True, limit=0)
    return len(store.tables.ids(failed) if live else store.tables.jobs(failed))


def _unserved(queue: Queue, queues: list[dict[str, Any]], seen: list[dict[str, Any]]) -> list[str]:
    """The queues in which jobs wait and that no living worker serves; none in a queue that has moved away."""
    if queue.store.location.moved_to is not None:
        return []
    living = {row["name"] for row in seen if row["state"] != "lost"}
    rows = [row for row in queue.store.workers.rows() if row.name in living]
    return queue.unserved([row["queue"] for row in queues if row[State.PENDING]], rows)


def _queues(counts: Iterable[Count]) -> list[dict[str, Any]]:
    """A row for each queue: its name, and how many of its jobs are in each state."""
    queues: dict[str, dict[str, Any]] = {}
    for count in counts:
        row = queues.setdefault(count.queue, {"queue": count.queue, **dict.fromkeys(SHOWN_STATES, 0)})
        row[count.state] = count.jobs
    return list(queues.values())
