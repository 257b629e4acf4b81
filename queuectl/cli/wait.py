"""`wait`: waits until jobs have ended, and exits with their own exit code."""

import os
from typing import Annotated

import typer

from queuectl.application.bulk import of_batch, unfinished
from queuectl.application.listing import Selection
from queuectl.application.own_job import own_jobs
from queuectl.application.queue import Queue
from queuectl.application.wait import exit_code, unserved_queues
from queuectl.application.wait import wait as wait_for
from queuectl.cli.logs import print_output
from queuectl.cli.messages import say, say_left_alone, say_unserved
from queuectl.cli.option_records import with_records
from queuectl.cli.options import FILTERS, JobFilters, MaybeIds, given_ids
from queuectl.cli.progress_bar import progress
from queuectl.cli.session import Session
from queuectl.errors import INTERRUPTED, RefusedError, UsageError

__all__ = ["wait", "wait_and_print", "wait_until_ended"]


@with_records
def wait(
    ctx: typer.Context,
    ids: MaybeIds = None,
    *,
    jobs: JobFilters,
    everything: Annotated[bool, typer.Option("--all", help="All jobs that have not ended.")] = False,
    timeout: Annotated[str | None, typer.Option(metavar="5m", help="Give up after this long (exit code 124).")] = None,
) -> None:
    """Wait until the jobs have ended. The exit code is the job's own (of several jobs, the largest).

    With --batch alone: 0 when all jobs of the batch are done, else 1. Other filters select jobs that have not ended.
    """
    session: Session = ctx.obj
    until = session.deadline(timeout)
    selected = jobs.selection(session.clock)
    if [bool(ids), bool(selected), everything].count(True) != 1:
        raise UsageError(f"give one of: ids, filters (--state, {', '.join(FILTERS)}), or --all")
    whole_batch = selected.batch if selected == Selection(batch=selected.batch) else None
    with session.open_read_only(missing="refuse") as queue:
        if whole_batch is not None:
            found = of_batch(queue, whole_batch)
        else:
            found = queue.resolve(given_ids(ids)) if ids else unfinished(queue, selected)
        code = wait_until_ended(session, queue, _others(queue, found), until)
    raise typer.Exit(code if whole_batch is None else min(code, 1))


def wait_until_ended(session: Session, queue: Queue, ids: list[str], until: int | None) -> int:
    """Wait for these jobs, with a progress bar on a terminal. Returns the largest of their exit codes, 0 for none."""
    if not ids:
        say("no jobs to wait for")
    say_unserved(unserved_queues(queue, ids))
    with progress("waiting", len(ids)) as reached:
        return max(map(exit_code, wait_for(queue, ids, session.clock, until, reached)), default=0)


def wait_and_print(session: Session, queue: Queue, ids: list[str], *, follow: bool) -> int:
    """Name the jobs on stderr, wait for them and print their output, with `follow` as it comes. Returns the code."""
    for job_id in ids:
        say(f"job {job_id}")
    say_unserved(unserved_queues(queue, ids))
    try:
        if not follow:
            wait_for(queue, ids, session.clock, None)
        for job_id in ids:
            print_output(queue, job_id, follow=follow)
        return max(map(exit_code, wait_for(queue, ids, session.clock, None)), default=0)
    except KeyboardInterrupt:
        say_left_alone(ids)
        raise typer.Exit(INTERRUPTED) from None


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
