"""`wait`: until jobs have ended, with their own exit code."""

import os
import sys
from typing import Annotated

import typer

from queuectl.application.own_job import own_job
from queuectl.application.queue import Queue
from queuectl.cli.session import Session
from queuectl.domain.events import Purged
from queuectl.domain.job import Job, fold
from queuectl.domain.machine import State
from queuectl.errors import RefusedError, WaitTimedOutError
from queuectl.runtime import pause

__all__ = ["exit_code", "wait"]

POLL = 20_000
"""Microseconds between two looks at whether anything was written."""


def wait(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Job ids, or the first parts of them.")],
    timeout: Annotated[str | None, typer.Option(metavar="5m", help="Give up after this long (exit code 124).")] = None,
) -> None:
    """Wait until the jobs have ended; exit with the job's own code (of several: the largest)."""
    session: Session = ctx.obj
    until = session.deadline(timeout)
    with session.reading() as queue:
        wanted = _others(queue, queue.resolve(ids))
        jobs = [_as_it_ended(queue, job) for job in _ended(queue, session, wanted, until)]
    raise typer.Exit(max(exit_code(job) for job in jobs))


def _others(queue: Queue, ids: list[str]) -> list[str]:
    """Without the job that runs this command, which cannot end before the wait does."""
    own = own_job(queue, os.environ)
    if own in ids:
        what = f"job {own} runs this command and would wait for itself"
        if ids == [own]:
            raise RefusedError(f"{what}: leave it out")
        print(f"queuectl: {what}: waiting only for the others", file=sys.stderr)
    return [job_id for job_id in ids if job_id != own]


def _ended(queue: Queue, session: Session, ids: list[str], until: int | None) -> list[Job]:
    ended: list[Job] = []
    waiting = list(ids)
    while True:
        queue.store.workers.changed()
        found = [job for job_id in waiting if (job := queue.is_finished(job_id))]
        ended += found
        waiting = [job_id for job_id in waiting if job_id not in {job.id for job in ended}]
        if not waiting:
            return ended
        _until_something_changes(queue, session, waiting, until)


def _until_something_changes(queue: Queue, session: Session, waiting: list[str], until: int | None) -> None:
    while not queue.store.workers.changed():
        if until is not None and session.clock.monotonic() >= until:
            raise WaitTimedOutError(f"timed out: {', '.join(waiting[:3])}{' …' if waiting[3:] else ''} not ended yet")
        pause(POLL)


def _as_it_ended(queue: Queue, job: Job) -> Job:
    """A purge hides the state in which a job ended: the log has it."""
    if job.state is not State.PURGED:
        return job
    return fold(each for each in queue.store.log.records(stream_id=job.id) if type(each.event) is not Purged) or job


def exit_code(job: Job) -> int:
    """An ended job's code: its command's own, 128 + signal, 124 timed out, 127 not started, 1 cancelled or lost."""
    if job.state is State.CANCELLED or job.exit_code is None:
        return 1
    return job.exit_code
