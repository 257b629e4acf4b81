"""Moves of many jobs at once, in batches, and the removal of a purged job's output files.

A bulk move changes every job that it can. Its result maps the id of each other job to the reason.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from queuectl.application.job_fields import check_queue
from queuectl.application.listing import FAILED, RETRYING
from queuectl.application.queue import Queue
from queuectl.domain.machine import ALIASES, FINISHED, LIVE, State
from queuectl.errors import QueuectlError, RefusedError, UsageError, command_line
from queuectl.process import output_files
from queuectl.store.protocol import JobFilter

__all__ = ["Left", "cancel_all", "dead_letters", "finished", "purge_all", "purge_named", "retry_all", "unfinished"]

Left: TypeAlias = dict[str, QueuectlError]

BATCH = 1000
"""Jobs moved in one transaction. Workers wait for the log's lock meanwhile, so it must be short."""


def unfinished(queue: Queue, states: Sequence[str], queues: Sequence[str], tags: dict[str, str]) -> list[str]:
    """Ids of jobs that can be cancelled, with these states, queues and tags (none: any). Raises UsageError."""
    names = _names_of(LIVE)
    words = [text.lower() for text in states]
    for word in words:
        if word not in (*names, FAILED, RETRYING):
            allowed = ", ".join([*names, RETRYING])
            raise UsageError(f"state {word}: only jobs in these can be cancelled: {allowed}")
    wanted = JobFilter(
        states=tuple(names[word] for word in words if word in names) if states else LIVE,
        failed=FAILED in words or RETRYING in words,
        queues=tuple(map(check_queue, queues)),
        tags=tags,
        descending=False,
        limit=0,
    )
    return queue.store.tables.ids(wanted)


def finished(queue: Queue, states: Sequence[str], ended_by: int) -> list[str]:
    """Ids of the jobs in these final states (none: any) that ended by `ended_by` (microseconds). Raises UsageError."""
    names = _names_of(FINISHED)
    words = [text.lower() for text in states]
    for word in words:
        if word not in names:
            raise UsageError(f"state {word}: only finished jobs can be purged ({', '.join(names)})")
    wanted = tuple(names[word] for word in words) or FINISHED
    return queue.store.tables.ids(JobFilter(states=wanted, ended_by=ended_by, descending=False, limit=0))


def _names_of(states: Sequence[State]) -> dict[str, State]:
    """These states by their names and other names."""
    return {**{each.value: each for each in states}, **{name: each for name, each in ALIASES.items() if each in states}}


def dead_letters(queue: Queue, texts: Sequence[str]) -> list[str]:
    """Whole ids of dead jobs. Raises RefusedError for a job that is not in the dead-letter queue."""
    found = queue.resolve(texts)
    for job_id in found:
        if not queue.store.tables.dlq(job_id):
            job = queue.store.log.load(job_id)
            state = job.state if job else "gone"
            raise RefusedError(f"job {job_id} is {state}, not dead: see `{command_line('history', job_id)}`")
    return found


def cancel_all(queue: Queue, ids: Sequence[str], reason: str) -> Left:
    """Cancel every job that can be cancelled."""
    return _in_batches(ids, lambda batch: queue.cancel_those_that_can(batch, reason))


def retry_all(queue: Queue, ids: Sequence[str], reason: str) -> Left:
    """Run every job again that can be retried."""
    return _in_batches(ids, lambda batch: queue.requeue_those_that_can(batch, reason))


def purge_all(queue: Queue, ids: Sequence[str], reason: str) -> Left:
    """Purge every job that can be purged."""
    return _in_batches(ids, lambda batch: _purge_batch(queue, batch, reason))


def purge_named(queue: Queue, ids: Sequence[str], reason: str) -> None:
    """Purge all these jobs, or none."""
    queue.purge(ids, reason)
    _remove_output(queue, ids)


def _in_batches(ids: Sequence[str], move: Callable[[Sequence[str]], Left]) -> Left:
    left = Left()
    for start in range(0, len(ids), BATCH):
        left |= move(ids[start : start + BATCH])
    return left


def _purge_batch(queue: Queue, ids: Sequence[str], reason: str) -> Left:
    left = queue.purge_those_that_can(ids, reason)
    _remove_output(queue, [job_id for job_id in ids if job_id not in left])
    return left


def _remove_output(queue: Queue, ids: Sequence[str]) -> None:
    for job_id in ids:
        output_files.remove(queue.store.location.output_folder, job_id)
