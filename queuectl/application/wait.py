"""Waiting until jobs have ended."""

from collections.abc import Sequence

from queuectl.application.queue import Queue
from queuectl.domain.events import Purged
from queuectl.domain.job import Job, fold
from queuectl.domain.machine import State
from queuectl.errors import WaitTimedOutError
from queuectl.runtime import Clock, pause

__all__ = ["exit_code", "wait"]

POLL = 20_000
"""Microseconds between two checks for new events."""


def wait(queue: Queue, ids: Sequence[str], clock: Clock, until: int | None) -> list[Job]:
    """Wait until all these jobs have ended, and return them as they ended.

    `until` is a moment of the monotonic clock; None: no limit. Raises WaitTimedOutError.
    """
    ended: list[Job] = []
    waiting = list(ids)
    while True:
        queue.store.workers.changed()
        ended += [job for job_id in waiting if (job := queue.is_finished(job_id))]
        waiting = [job_id for job_id in waiting if job_id not in {job.id for job in ended}]
        if not waiting:
            return [_before_purge(queue, job) for job in ended]
        _wait_for_change(queue, clock, waiting, until)


def _wait_for_change(queue: Queue, clock: Clock, waiting: Sequence[str], until: int | None) -> None:
    while not queue.store.workers.changed():
        if until is not None and clock.monotonic() >= until:
            raise WaitTimedOutError(f"timed out: {', '.join(waiting[:3])}{' …' if waiting[3:] else ''} not ended yet")
        pause(POLL)


def _before_purge(queue: Queue, job: Job) -> Job:
    """The job as it ended: a purge hides that state, the log has it."""
    if job.state is not State.PURGED:
        return job
    return fold(each for each in queue.store.log.records(stream_id=job.id) if type(each.event) is not Purged) or job


def exit_code(job: Job) -> int:
    """An ended job's code: its command's own, 128 + signal, 124 timed out, 127 not started, 1 cancelled or lost."""
    if job.state is State.CANCELLED or job.exit_code is None:
        return 1
    return job.exit_code
