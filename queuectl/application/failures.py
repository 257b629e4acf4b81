"""Failures grouped by signature: dead jobs, or with the log also attempts that were retried, and flaky jobs.

A group has the failures of one signature: how many jobs, when, in which queues, and the newest error.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from queuectl.application.follow import LogReader
from queuectl.application.listing import EVERY, Selection, narrowed
from queuectl.application.membership import Members
from queuectl.application.queue import Queue
from queuectl.application.time_travel import position_at
from queuectl.domain import events as e
from queuectl.domain.cause_text import explain_cause
from queuectl.domain.job import Job, errors_of
from queuectl.domain.machine import State
from queuectl.domain.signature import signature
from queuectl.errors import UsageError, command_line
from queuectl.store.rows import DeadLetter, JobFilter
from queuectl.units import HOUR, SECOND, format_time, quoted

__all__ = ["HOURS", "Wanted", "check_signature", "failures"]

HOURS = 12
"""The hours that `per_hour` counts, up to now."""

_TYPES = {"retry_scheduled", "dead_lettered", "completed"}
_SIGNATURE = re.compile("[0-9a-f]{8}")


class Wanted(Struct, frozen=True):
    """A filter of failures: those of the selected jobs, `since` of which is about the failures themselves.

    `attempts`: every failed attempt in the log, not only the dead jobs. `flaky`: only the attempts of jobs that
    completed later.
    """

    selected: Selection = EVERY
    attempts: bool = False
    flaky: bool = False

    @property
    def since(self) -> int:
        """Only failures at this time or later, in microseconds."""
        return self.selected.since or 0


class Failure(NamedTuple):
    """One failed attempt; `at` is microseconds."""

    signature: str
    job_id: str
    at: int
    queue: str
    error: str


def check_signature(text: str) -> str:
    """A signature as a person gives it. Raises UsageError."""
    given = text.strip().lower()
    if not _SIGNATURE.fullmatch(given):
        raise UsageError(
            f"{quoted(text)} is not a signature: these have 8 hex digits (`{command_line('failures')}` shows them)"
        )
    return given


def failures(queue: Queue, wanted: Wanted) -> list[dict[str, Any]]:
    """The groups in the shape of `failures --json`, the one with the most jobs first."""
    groups: dict[str, list[Failure]] = {}
    for failure in _found(queue, wanted):
        if wanted.selected.signature in (None, failure.signature):
            groups.setdefault(failure.signature, []).append(failure)
    now = queue.store.log.wall()
    rows = [_group(name, found, now) for name, found in groups.items()]
    return sorted(rows, key=lambda row: (-row["jobs"], -row["attempts"], row["first"], row["signature"]))


def _found(queue: Queue, wanted: Wanted) -> Iterable[Failure]:
    if wanted.flaky:
        return _flaky(queue, wanted)
    return _attempts(queue, wanted) if wanted.attempts else _dead(queue, wanted)


def _dead(queue: Queue, wanted: Wanted) -> Iterator[Failure]:
    chosen = _chosen(queue, wanted, State.DLQ)
    for row in queue.store.tables.dead(wanted.selected.queues, wanted.since // SECOND):
        if (chosen is None or chosen(row.id)) and _died_since(queue, row, wanted.since):
            yield Failure(row.signature, row.id, row.moved_at * SECOND, row.queue, row.last_error)


def _chosen(queue: Queue, wanted: Wanted, *states: State) -> Callable[[str], bool] | None:
    """The jobs with the wanted tags and batch, and in these states; None when any will do."""
    if not (wanted.selected.tags or wanted.selected.batch):
        return None
    return Members(queue.store, narrowed(JobFilter(states=states), replace(wanted.selected, since=None))).has


def _died_since(queue: Queue, row: DeadLetter, since: int) -> bool:
    """Whether the job died at that time or later. The row has whole seconds; within one its events say it."""
    if row.moved_at != since // SECOND:
        return True
    job = queue.store.log.load_all([row.id])[row.id]
    return not isinstance(job, Job) or job.finished_at is None or job.finished_at >= since


def _attempts(queue: Queue, wanted: Wanted) -> Iterator[Failure]:
    return (failure for _, failure in _events(queue, wanted) if failure is not None)


def _flaky(queue: Queue, wanted: Wanted) -> Iterator[Failure]:
    """The failures of jobs that completed later. A job's failures wait here until it completes."""
    waiting: dict[str, list[Failure]] = {}
    for job_id, failure in _events(queue, wanted):
        if failure is None:
            yield from waiting.pop(job_id, ())
        else:
            waiting.setdefault(job_id, []).append(failure)


def _events(queue: Queue, wanted: Wanted) -> Iterator[tuple[str, Failure | None]]:
    """Jobs that failed, each with its failure, and jobs that completed, with None; damaged events are left out."""
    store, queues = queue.store, Queues(queue)
    after = position_at(store.log, wanted.since - 1) if wanted.since else store.log.base.position
    for record in LogReader(store, after, None, _TYPES, _chosen(queue, wanted)).read(store.log.head().position):
        if not isinstance(record, e.RecordedEvent):
            continue
        event = record.event
        if not isinstance(event, e.RetryScheduled | e.DeadLettered):
            yield record.stream_id, None
            continue
        name = queues.of(record.stream_id)
        if name in (wanted.selected.queues or (name,)):
            said = _said(queue, record.stream_id, event)
            kind, error = signature(event.cause, said), explain_cause(event.cause, said)
            yield record.stream_id, Failure(kind, record.stream_id, record.recorded_at, name, error)


def _said(queue: Queue, job_id: str, event: e.RetryScheduled | e.DeadLettered) -> str:
    """The output in which the errors are. Only a job whose stderr is empty may have merged it with its stdout."""
    if event.stderr or not event.stdout:
        return event.stderr
    job = queue.store.log.load_all([job_id])[job_id]
    return errors_of(job.spec, event) if isinstance(job, Job) else ""


class Queues:
    """The queue of each job, looked up once."""

    def __init__(self, queue: Queue) -> None:
        self._store = queue.store
        self._known: dict[str, str] = {}

    def of(self, job_id: str) -> str:
        """The name of the job's queue; a purged job's too."""
        if job_id not in self._known:
            row = self._store.tables.job(job_id)
            job = None if row is not None else self._store.log.load_all([job_id])[job_id]
            self._known[job_id] = row["queue"] if row is not None else job.spec.queue if isinstance(job, Job) else ""
        return self._known[job_id]


def _group(name: str, found: Collection[Failure], now: int) -> dict[str, Any]:
    newest = max(found, key=lambda failure: failure.at)
    return {
        "signature": name,
        "jobs": len({failure.job_id for failure in found}),
        "attempts": len(found),
        "first": format_time(min(failure.at for failure in found)),
        "last": format_time(newest.at),
        "per_hour": _per_hour(found, now),
        "queues": sorted({failure.queue for failure in found}),
        "error": newest.error,
        "example": newest.job_id,
    }


def _per_hour(found: Iterable[Failure], now: int) -> list[int]:
    """How many failures there were in each of the last hours, the oldest hour first."""
    counts = [0] * HOURS
    for failure in found:
        hour = max(now - failure.at, 0) // HOUR
        if hour < HOURS:
            counts[HOURS - 1 - hour] += 1
    return counts
