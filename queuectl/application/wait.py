"""Waiting until jobs have ended."""

from collections.abc import Callable, Collection, Iterable, Sequence

from queuectl.application.queue import Queue
from queuectl.application.waiting import check_held
from queuectl.domain.events import Purged
from queuectl.domain.job import Job, fold
from queuectl.domain.machine import State
from queuectl.errors import WaitTimedOutError
from queuectl.runtime import Clock, pause

__all__ = ["exit_code", "unserved_queues", "wait"]

POLL = 20_000
"""Microseconds between two checks for new events."""


def wait(
    queue: Queue,
    ids: Sequence[str],
    clock: Clock,
    until: int | None,
    reached: Callable[[int], None] = lambda ended: None,
) -> list[Job]:
    """Wait until all these jobs have ended, and return them as they ended, in the order of the ids.

    `until` is a moment of the monotonic clock; None: no limit. Raises WaitTimedOutError, and HeldError when
    none of them can end without help. New events are noticed by the log's head and not by `changed()`, so that threads
    that share a store may all wait. `reached` is called with the number of jobs that have ended, at each look.
    """
    seen = queue.store.log.head().position
    ended = _ended(queue, ids)
    while waiting := [job_id for job_id in ids if job_id not in ended]:
        check_held(queue.store, waiting)
        head = seen
        while head <= seen:
            _check_time(clock, until, waiting)
            reached(len(ended))
            pause(POLL)
            head = queue.store.log.head().position
        ended |= _ended(queue, _moved(queue, seen, head, waiting))
        seen = head
        reached(len(ended))
    return [_before_purge(queue, ended[job_id]) for job_id in ids]


def _ended(queue: Queue, ids: Iterable[str]) -> dict[str, Job]:
    return {job_id: job for job_id in ids if (job := queue.if_ended(job_id))}


def unserved_queues(queue: Queue, ids: Sequence[str]) -> list[str]:
    """The queues in which some of these jobs are pending and that no worker serves."""
    rows = [row for job_id in ids if (row := queue.store.tables.job(job_id)) is not None]
    return queue.unserved({row["queue"] for row in rows if row["state"] == State.PENDING})


def _check_time(clock: Clock, until: int | None, waiting: Sequence[str]) -> None:
    if until is not None and clock.monotonic() >= until:
        raise WaitTimedOutError(f"timed out: {', '.join(waiting[:3])}{' …' if waiting[3:] else ''} not ended yet")


def _moved(queue: Queue, seen: int, head: int, waiting: Collection[str]) -> set[str]:
    """The jobs among these that have events after `seen`."""
    return {row.stream_id for row in queue.store.log.stored(after=seen, until=head)}.intersection(waiting)


def _before_purge(queue: Queue, job: Job) -> Job:
    """The job as it ended. After a purge only the log has that state."""
    if job.state is not State.PURGED:
        return job
    return fold(each for each in queue.store.log.records(stream_id=job.id) if type(each.event) is not Purged) or job


def exit_code(job: Job) -> int:
    """An ended job's code: its command's own, 128 + signal, 124 timed out, 127 not started, 1 cancelled or lost."""
    if job.state is State.CANCELLED or job.exit_code is None:
        return 1
    return job.exit_code
