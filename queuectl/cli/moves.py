"""`cancel`, `retry`, `purge`, `pause`, `resume`: what people ask of jobs and queues."""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from queuectl.application.job_fields import check_queue
from queuectl.application.liveness import is_alive
from queuectl.application.queue import Queue
from queuectl.cli.messages import confirm, refuse_left, say
from queuectl.cli.options import FAILED, Ids, Reason, Yes, parse_tag
from queuectl.cli.session import Session
from queuectl.domain.job import Job
from queuectl.domain.machine import ALIASES, FINISHED, LIVE
from queuectl.errors import QueuectlError, UsageError
from queuectl.process import output_files as output
from queuectl.store.protocol import PAUSE_ALL, JobFilter, Store
from queuectl.units import counted, parse_duration

__all__ = ["cancel", "pause", "purge", "resume", "retry"]

BATCH = 1000


def cancel(
    ctx: typer.Context,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Job ids, or the first parts of them.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", "-s", help="All in this state: pending, processing, failed.")
    ] = None,
    of_queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="All of this queue.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="K=V", help="All with this tag.")] = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Call jobs off: pending ones at once, running ones are ended by their worker."""
    if bool(ids) == bool(state or tag or of_queue):
        raise UsageError("give either ids, or --state, --queue and --tag")
    wanted = None if ids else _unfinished(state or [], of_queue or [], tag or [])
    with ctx.obj.existing() as queue:
        if wanted is not None:
            _cancel_all(queue, queue.store.ids(wanted), reason, yes)
            return
        for job in queue.cancel(queue.resolve(ids or []), reason):
            if job is not None:
                say(f"{job.id}: {_called_off(job, queue.store)}")


def _called_off(job: Job, store: Store) -> str:
    if job.claim is None:
        return f"off (`queuectl retry {job.id}` brings it back)"
    if is_alive(store, job.claim) is False:
        return "its worker's process is gone: the next worker that runs frees the job, which is then off"
    return f"its worker is told to end it (`queuectl wait {job.id}`, then `retry` brings it back)"


def _unfinished(states: list[str], queues: list[str], tags: list[str]) -> JobFilter:
    """The jobs that can be called off, of these states, these queues, with these tags."""
    for text in states:
        if text not in (*LIVE, FAILED):
            raise UsageError(f"--state {text}: only these can be called off: {', '.join([*LIVE, FAILED])}")
    return JobFilter(
        states=tuple(each for each in LIVE if each in states or not states),
        failed=FAILED in states,
        queues=tuple(map(check_queue, queues)),
        tags=dict(map(parse_tag, tags)),
        descending=False,
        limit=0,
    )


def _cancel_all(queue: Queue, ids: Sequence[str], reason: str, yes: bool) -> None:
    if not ids:
        say("nothing to cancel")
        return
    confirm(f"cancel {counted(len(ids), 'job')}", yes)
    left = in_batches(ids, lambda batch: queue.cancel_those_that_can(batch, reason))
    off = counted(len(ids) - len(left), "job")
    say(f"called off {off}, those that run are ended by their workers (`queuectl retry ID` brings one back)")
    refuse_left(left, "job", "could not be cancelled")


def in_batches(
    ids: Sequence[str], move: Callable[[Sequence[str]], dict[str, QueuectlError]]
) -> dict[str, QueuectlError]:
    """Move many jobs so that a worker never waits long for the log's lock; those that were left, and why."""
    left = dict[str, QueuectlError]()
    for start in range(0, len(ids), BATCH):
        left |= move(ids[start : start + BATCH])
    return left


def retry(ctx: typer.Context, ids: Ids, reason: Reason = "") -> None:
    """Run finished jobs again, also cancelled and purged ones: pending at once, attempts at 0."""
    with ctx.obj.existing() as queue:
        for job in queue.requeue(queue.resolve(ids), reason):
            if job is not None:
                say(f"{job.id}: pending again")


def purge(
    ctx: typer.Context,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Job ids, or the first parts of them.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", "-s", help="All in this state: done, cancelled, dlq.")
    ] = None,
    older_than: Annotated[str | None, typer.Option(metavar="7d", help="Only those that ended longer ago.")] = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Take finished jobs out of the tables, and their output off the disk; the log keeps their history."""
    session: Session = ctx.obj
    if bool(ids) == bool(state or older_than):
        raise UsageError("give either ids, or --state and --older-than")
    with session.existing() as queue:
        found = queue.resolve(ids) if ids else _finished(queue, session, state or [], older_than)
        if not found:
            say("nothing to purge")
            return
        if ids:
            purge_jobs(queue, found, reason)
            return
        confirm(f"purge {counted(len(found), 'job')}", yes)
        purge_all(queue, found, reason, "job")


def _finished(queue: Queue, session: Session, states: list[str], older_than: str | None) -> list[str]:
    names = {**{each.value: each for each in FINISHED}, **ALIASES}
    for text in states:
        if text not in names:
            raise UsageError(f"--state {text}: only finished jobs can be purged ({', '.join(names)})")
    try:
        before = queue.store.log.now() - (parse_duration(older_than) if older_than else 0)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}") from None
    wanted = tuple(names[text] for text in states) or FINISHED
    return queue.store.tables.ids(JobFilter(states=wanted, ended_by=before, descending=False, limit=0))


def purge_jobs(queue: Queue, ids: Sequence[str], reason: str) -> None:
    """Purge jobs that were named: all or none."""
    queue.purge(ids, reason)
    _remove_output(queue, ids)
    _say_purged(ids, "job")


def purge_all(queue: Queue, ids: Sequence[str], reason: str, thing: str) -> None:
    """Purge those of many that can be; what is left is named."""
    left = in_batches(ids, lambda batch: _purge_batch(queue, batch, reason))
    _say_purged([job_id for job_id in ids if job_id not in left], thing)
    refuse_left(left, thing, "could not be purged")


def _purge_batch(queue: Queue, ids: Sequence[str], reason: str) -> dict[str, QueuectlError]:
    left = queue.purge_those_that_can(ids, reason)
    _remove_output(queue, [job_id for job_id in ids if job_id not in left])
    return left


def _remove_output(queue: Queue, ids: Sequence[str]) -> None:
    for job_id in ids:
        output.remove(queue.store.location.output_folder, job_id)


def _say_purged(ids: Sequence[str], thing: str) -> None:
    back = f"`queuectl retry {ids[0]}` brings it back" if len(ids) == 1 else "`queuectl retry ID` brings one back"
    say(f"purged {counted(len(ids), thing)} ({back})")


Name = Annotated[str | None, typer.Argument(metavar="[QUEUE]", help="A queue; without one: all of them.")]


def pause(ctx: typer.Context, queue: Name = None) -> None:
    """Stop claiming from a queue, or from all. What runs goes on."""
    name = PAUSE_ALL if queue is None else check_queue(queue)
    with ctx.obj.queue() as jobs:
        changed = jobs.pause(name)
    say(f"{_named(queue)} {'is paused' if changed else 'was paused already'}")


def resume(ctx: typer.Context, queue: Name = None) -> None:
    """Go on claiming. Without a queue it lifts only the pause of all; a queue's own pause stays."""
    name = PAUSE_ALL if queue is None else check_queue(queue)
    with ctx.obj.there(changed=True) as jobs:
        changed = jobs.resume(name)
        still = queue is not None and PAUSE_ALL in jobs.store.pauses()
    say(f"{_named(queue)} {'goes on' if changed else 'was not paused'}")
    if still:
        say("every queue is still paused: `queuectl resume` lifts that")


def _named(queue: str | None) -> str:
    return "claiming from every queue" if queue is None else f"queue {queue}"
