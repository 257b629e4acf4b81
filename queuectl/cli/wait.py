"""`wait`: waits until jobs have ended, and exits with their own exit code."""

import os
from typing import Annotated

import typer

from queuectl.application.own_job import own_jobs
from queuectl.application.queue import Queue
from queuectl.application.wait import exit_code, unserved_queues
from queuectl.application.wait import wait as wait_for
from queuectl.cli.messages import say, say_unserved
from queuectl.cli.options import Ids
from queuectl.cli.session import Session
from queuectl.errors import RefusedError

__all__ = ["wait"]


def wait(
    ctx: typer.Context,
    ids: Ids,
    timeout: Annotated[str | None, typer.Option(metavar="5m", help="Give up after this long (exit code 124).")] = None,
) -> None:
    """Wait until the jobs have ended. The exit code is the job's own (of several jobs, the largest)."""
    session: Session = ctx.obj
    until = session.deadline(timeout)
    with session.open_read_only(missing="refuse") as queue:
        awaited = _others(queue, queue.resolve(ids))
        say_unserved(unserved_queues(queue, awaited))
        ended = wait_for(queue, awaited, session.clock, until)
    raise typer.Exit(max(map(exit_code, ended)))


def _others(queue: Queue, ids: list[str]) -> list[str]:
    """Without the jobs that run this command, which cannot end before the wait does."""
    own = own_jobs(queue, os.environ)
    others = [job_id for job_id in ids if job_id not in own]
    for job_id in own:
        if job_id in ids:
            what = f"job {job_id} runs this command and would wait for itself"
            if not others:
                raise RefusedError(f"{what}: leave it out")
            say(f"queuectl: {what}: waiting only for the others")
    return others
