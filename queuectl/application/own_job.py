"""The jobs inside which this command runs: it must not wait for them.

There are several when a job runs `queuectl run`: a job of that worker is also part of the outer job.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from queuectl.application.queue import Queue
from queuectl.domain.events import Claimed, Origin, RecordedEvent
from queuectl.domain.names import is_id
from queuectl.process.orphans import OUTER, TOKEN, queue_scope

__all__ = ["origin_of", "own_jobs", "own_workers"]


def origin_of(queue: Queue | None, job_id: str, environ: Mapping[str, str]) -> Origin | None:
    """The origin of a job that the job `job_id` adds. Its position is that job's number, if it is of this queue."""
    if not is_id(job_id):
        return None
    runs = [] if queue is None else [run for run in _runs(queue, environ) if run.job_id == job_id]
    return Origin("job", job_id, runs[0].position if runs else None)


class _Run(NamedTuple):
    """A run of this queue that the command is part of."""

    job_id: str
    position: int
    number: int


def own_jobs(queue: Queue, environ: Mapping[str, str]) -> list[str]:
    """The ids of the jobs of this queue, and of no copy of it, that we are part of; the innermost comes first."""
    return [run.job_id for run in _runs(queue, environ)]


def own_workers(queue: Queue, environ: Mapping[str, str]) -> list[str]:
    """The names of the workers that run those jobs."""
    return [name for run in _runs(queue, environ) for name in _worker_of(queue, run)]


def _runs(queue: Queue, environ: Mapping[str, str]) -> Iterator[_Run]:
    tokens = [environ.get(TOKEN, ""), *reversed(environ.get(OUTER, "").split())]
    if not any(tokens):
        return
    location = queue.store.location
    try:
        ours = queue_scope(queue.store.log.log_id, location.output_folder, location.reach)
    except OSError:  # without a lock file no job runs
        return
    for token in tokens:
        scope, *numbers = token.rsplit(":", 2)
        if scope == ours and all(number.isdecimal() for number in numbers):
            position, run = map(int, numbers)
            for record in queue.store.log.stored(after=position - 1, until=position):
                yield _Run(record.stream_id, position, run)


def _worker_of(queue: Queue, run: _Run) -> list[str]:
    claims = [
        record.event
        for record in queue.store.log.examined(stream_id=run.job_id)
        if isinstance(record, RecordedEvent) and isinstance(record.event, Claimed)
    ]
    return [claim.worker for claim in claims if claim.run == run.number]
