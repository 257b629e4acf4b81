"""One job: its fields and settings, and its events with the job as it was before each."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from queuectl.application.queue import Queue
from queuectl.domain.events import Cancelled, RecordedEvent
from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.errors import NoSuchJobError, command_line
from queuectl.render import json_shapes
from queuectl.store.projections import JOBS, job_row
from queuectl.store.stream_fold import Examined, Stream, streams

__all__ = ["details", "history", "shell_line"]

LAST_EVENTS = 20
"""Events of a cancelled job among which its cancellation is looked for: few notes come after it."""


def details(queue: Queue, job_id: str, *, original: bool = False) -> dict[str, Any]:
    """The job in the shape of `show --json`, or with the settings that it was added with (`original`).

    Raises NoSuchJobError for a purged job, DamagedEventError.
    """
    row, stream = queue.store.tables.job(job_id), next(streams(queue.store.log.examined(stream_id=job_id)))
    if row is None or stream.job is None:
        if stream.damage is not None:
            raise stream.damage
        raise NoSuchJobError(f"job {job_id} was purged: see `{command_line('history', job_id)}`; `retry` runs it again")
    if original:
        promised = replace(stream.job, spec=stream.job.promised)
        shown = json_shapes.whole_job({**row, **_promised_columns(promised)}, promised)
    else:
        shown = json_shapes.whole_job(row, stream.job)
    if stream.damage is not None:
        shown["damaged"] = str(stream.damage)
    return {**shown, **_why_cancelled(queue, job_id, stream.job)}


def _why_cancelled(queue: Queue, job_id: str, job: Job) -> dict[str, Any]:
    """The reason of a cancelled job, and the position of the event that led to it, if another one did."""
    newest = queue.store.log.newest(job_id, LAST_EVENTS) if job.state is State.CANCELLED else ()
    for found in newest:
        if isinstance(found, RecordedEvent) and isinstance(found.event, Cancelled):
            return {"reason": found.event.reason or None, "because_of": found.event.by or None}
    return {"reason": None, "because_of": None}


def _promised_columns(job: Job) -> dict[str, Any]:
    """The columns of `jobs` that a job's promise decides."""
    row = dict(zip(JOBS, job_row(job), strict=True))
    return {name: row[name] for name in ("command", "max_retries", "queue", "priority", "timeout", "tags")}


def shell_line(queue: Queue, job_id: str) -> str:
    """The command line that adds the job again, also a purged one. Raises NoSuchJobError, DamagedEventError."""
    from queuectl.application.job_spec import as_shell

    return as_shell(queue.load(job_id).spec, queue.store.log.wall())


def history(queue: Queue, job_id: str) -> Iterator[tuple[Examined, Job | None]]:
    """Every event of the job (a damaged one as its error), each with the job as it was before the event."""
    stream = Stream(job_id)
    for event in queue.store.log.examined(stream_id=job_id):
        yield event, stream.job
        stream.take(event)
