"""`cancel`, `retry`, `purge`, `pause`, `resume`: changes to jobs and queues."""

from collections.abc import Sequence
from typing import Annotated

import typer

from queuectl.application import bulk
from queuectl.application.job_fields import check_queue
from queuectl.application.liveness import is_alive
from queuectl.application.queue import Queue
from queuectl.cli.messages import confirm, refuse_left, say
from queuectl.cli.options import Ids, MaybeIds, Reason, Yes, parse_tag
from queuectl.cli.session import Session
from queuectl.domain.job import Job
from queuectl.errors import UsageError, command_line
from queuectl.units import counted, parse_duration

__all__ = ["cancel", "pause", "purge", "resume", "retry", "say_purged"]


def cancel(
    ctx: typer.Context,
    ids: MaybeIds = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state", "-s", metavar="STATE", help="Cancel all jobs in this state: pending, processing, retrying."
        ),
    ] = None,
    of_queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="Cancel all jobs of this queue.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Cancel all jobs with this tag.")] = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Cancel jobs. A pending one is cancelled at once; a running one is stopped by its worker."""
    if bool(ids) == bool(state or tag or of_queue):
        raise UsageError("give either ids, or --state, --queue and --tag")
    with ctx.obj.open_existing() as queue:
        if not ids:
            tags = dict(map(parse_tag, tag or ()))
            _cancel_all(queue, bulk.unfinished(queue, state or (), of_queue or (), tags), reason, yes)
            return
        for job in queue.cancel(queue.resolve(ids), reason):
            if job is not None:
                say(f"{job.id} {_cancelled(queue, job)}")


def _cancelled(queue: Queue, job: Job) -> str:
    if job.claim is None:
        return f"cancelled (undo: {command_line('retry', job.id)})"
    if is_alive(queue.store, job.claim) is False:
        return "will be cancelled when a worker next runs: its own worker is dead"
    return f"is being stopped (undo, once it has stopped: {command_line('retry', job.id)})"


def _cancel_all(queue: Queue, ids: Sequence[str], reason: str, yes: bool) -> None:
    if not ids:
        say("nothing to cancel")
        return
    confirm(f"cancel {counted(len(ids), 'job')}", yes)
    left = bulk.cancel_all(queue, ids, reason)
    done = counted(len(ids) - len(left), "job")
    say(f"cancelled {done}; running ones are being stopped (undo: {command_line('retry', 'ID')})")
    refuse_left(left, "job", "could not be cancelled")


def retry(ctx: typer.Context, ids: Ids, reason: Reason = "") -> None:
    """Run finished, cancelled or purged jobs again. They become pending at once, with 0 attempts."""
    with ctx.obj.open_existing() as queue:
        for job in queue.requeue(queue.resolve(ids), reason):
            if job is not None:
                say(f"{job.id} is pending again")


def purge(
    ctx: typer.Context,
    ids: MaybeIds = None,
    state: Annotated[
        list[str] | None,
        typer.Option("--state", "-s", metavar="STATE", help="Purge all jobs in this state: done, cancelled, dlq."),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="7d", help="Only jobs that ended longer ago than this.")
    ] = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Delete finished jobs from the tables, and their output files. Their history stays in the log."""
    session: Session = ctx.obj
    if bool(ids) == bool(state or older_than):
        raise UsageError("give either ids, or --state and --older-than")
    age = _age(older_than)
    with session.open_existing() as queue:
        if ids:
            found = queue.resolve(ids)
            bulk.purge_named(queue, found, reason)
            say_purged(found, "job")
            return
        found = bulk.finished(queue, state or (), queue.store.log.now() - age)
        if not found:
            say("nothing to purge")
            return
        confirm(f"purge {counted(len(found), 'job')}", yes)
        purge_all(queue, found, reason, "job")


def _age(text: str | None) -> int:
    try:
        return parse_duration(text) if text else 0
    except ValueError as error:
        raise UsageError(f"--older-than: {error}") from None


def purge_all(queue: Queue, ids: Sequence[str], reason: str, thing: str) -> None:
    """Purge every job that can be purged. Name the others, and raise RefusedError if there are any."""
    left = bulk.purge_all(queue, ids, reason)
    say_purged([job_id for job_id in ids if job_id not in left], thing)
    refuse_left(left, thing, "could not be purged")


def say_purged(ids: Sequence[str], thing: str) -> None:
    """Say how many jobs were purged, and how to undo it."""
    say(f"purged {counted(len(ids), thing)} (undo: {command_line('retry', ids[0] if len(ids) == 1 else 'ID')})")


Name = Annotated[str | None, typer.Argument(metavar="[QUEUE]", help="A queue's name [default: all queues].")]


def pause(ctx: typer.Context, queue: Name = None) -> None:
    """Start no more jobs from QUEUE (without QUEUE: from any queue). Running jobs finish."""
    name = None if queue is None else check_queue(queue)
    with ctx.obj.open() as jobs:
        changed = jobs.pause() if name is None else jobs.pause(name)
    say(f"paused {_named(name)}" if changed else f"{_named(name)} was paused already")


def resume(ctx: typer.Context, queue: Name = None) -> None:
    """Start jobs again. Without QUEUE: undoes `pause` without QUEUE; queues paused by name stay paused."""
    name = None if queue is None else check_queue(queue)
    with ctx.obj.open_existing() as jobs:
        changed = jobs.resume() if name is None else jobs.resume(name)
        still = name is not None and jobs.all_paused()
    say(f"resumed {_named(name)}" if changed else f"{_named(name)} was not paused")
    if still:
        say(f"every queue is still paused: `{command_line('resume')}` undoes that")


def _named(queue: str | None) -> str:
    return "every queue" if queue is None else f"queue {queue}"
