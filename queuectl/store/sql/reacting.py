"""Appends the consequences of events, and theirs in turn, until there are none left."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from queuectl.domain.events import Event, RecordedEvent
from queuectl.domain.job import Job
from queuectl.domain.reactions import View, reactions
from queuectl.store.rows import Change
from queuectl.store.sql.log import Log
from queuectl.store.sql.waits import Step, Waits

__all__ = ["Append", "react", "steps"]

LOADED = 500
"""Jobs that are loaded with one question."""

Batch = Sequence[Sequence[RecordedEvent]]
Append = Callable[[Sequence[Change]], tuple[Batch, Sequence[Job | None]]]
"""Appends changes: the events that were recorded, and the jobs that result."""


def steps(changes: Sequence[Change], batch: Batch, jobs: Sequence[Job | None]) -> list[Step]:
    """The changes of jobs among these."""
    return [
        Step(change.job, job, records[-1].position)
        for change, records, job in zip(changes, batch, jobs, strict=True)
        if records and job is not None
    ]


def react(waits: Waits, log: Log, view: View, append: Append) -> dict[str, Job]:
    """Append what follows from what has changed. Returns the jobs that were changed by that, by id."""
    found: dict[str, Job] = {}
    while changes := _changes(log, reactions(view)):
        batch, jobs = append(changes)
        found |= {job.id: job for job in jobs if job is not None}
        view = waits.follow(steps(changes, batch, jobs))
    return found


def _changes(log: Log, events: Iterable[tuple[str, Event]]) -> list[Change]:
    """The events as changes of their jobs. A damaged job is left out: it is quarantined."""
    changes, rest = list[Change](), iter(events)
    while part := dict(islice(rest, LOADED)):
        for job_id, job in log.load_all(part.keys()).items():
            if isinstance(job, Job):
                changes.append(Change(job_id, job.version, [part[job_id]], job))
    return changes
