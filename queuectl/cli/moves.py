"""`cancel`, `unblock`, `retry`, `purge`, `pause`, `resume`: changes to jobs and queues."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
import typer
from msgspec.structs import replace

from queuectl.application import bulk
from queuectl.application.editing import Edit, Editor, parse_settings
from queuectl.application.job_fields import check_queue
from queuectl.application.listing import Selection
from queuectl.application.liveness import is_alive
from queuectl.application.queue import Queue
from queuectl.application.waiting import dependants
from queuectl.cli.messages import confirm, refuse_left, say
from queuectl.cli.option_records import with_records
from queuectl.cli.options import (
    FILTERS,
    AtMost,
    DryRun,
    JobFilters,
    MaybeIds,
    MoveOptions,
    Reason,
    Settings,
    Signature,
    Spread,
    given_ids,
)
from queuectl.cli.session import Session
from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.errors import UsageError, command_line
from queuectl.units import counted, parse_duration

__all__ = [
    "RetryOptions",
    "cancel",
    "duration",
    "pause",
    "purge",
    "resume",
    "retry",
    "retry_named",
    "retry_selected",
    "say_purged",
    "unblock",
]


@with_records
def cancel(
    ctx: typer.Context,
    ids: MaybeIds = None,
    *,
    jobs: JobFilters,
    options: MoveOptions,
    with_waiting: Annotated[
        bool, typer.Option("--with-waiting", help="Cancel the jobs that wait for them too, and so on.")
    ] = False,
) -> None:
    """Cancel jobs. A pending one is cancelled at once; a running one is stopped by its worker."""
    session: Session = ctx.obj
    selected = jobs.selection(session.clock)
    _check_one_way(ids, bool(selected))
    with session.open_existing() as queue:
        if not ids:
            _cancel_all(queue, bulk.unfinished(queue, selected), selected, options)
            return
        found = queue.resolve(given_ids(ids))
        behind = dependants(queue.store, found)
        if behind and with_waiting:  # those that have ended may still have jobs that wait for them
            found = [*(each for each in found if queue.if_ended(each) is None), *behind]
        for job in queue.cancel(found, options.reason):
            if job is not None:
                say(f"{job.id} {_cancelled(queue, job)}")
        if behind and not with_waiting:
            _say_waiting(queue, behind, found)


def _say_waiting(jobs: Queue, behind: Sequence[str], ids: Sequence[str]) -> None:
    left = [each for each in behind if jobs.store.waits.dependencies(each)]
    if left:
        take = command_line("cancel", "--with-waiting", *ids)
        see = command_line("graph", *ids) if len(ids) == 1 else command_line("graph")
        say(f"{counted(len(left), 'job')} waiting for {_these(ids)} (`{see}`); `{take}` cancels them too")


def _these(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else "these jobs"


def unblock(ctx: typer.Context, ids: MaybeIds = None, reason: Reason = "") -> None:
    """Start jobs that wait for other jobs, without waiting."""
    session: Session = ctx.obj
    if not ids:
        raise UsageError(f"give the ids of the jobs to start: `{command_line('list')}` shows which jobs wait")
    with session.open_existing() as jobs:
        for job in jobs.unblock(jobs.resolve(given_ids(ids)), reason):
            if job is not None:
                say(f"{job.id} no longer waits")


def _check_one_way(ids: list[str] | None, filters: bool, *more: str) -> None:
    """Raise UsageError unless there are either ids or filters. `more` are the command's other options that filter."""
    if bool(ids) == filters:
        *options, last = ("--state", *FILTERS, *more)
        raise UsageError(f"name the jobs by id, or select them with {', '.join(options)} or {last}")


def _ask(what: str, ids: Sequence[str], selected: Selection, yes: bool) -> bool:
    """Ask before a move of all selected jobs, as `retry 3 jobs`. Returns False when there are none."""
    if not ids:
        say(f"nothing to {what.partition(' ')[0]}")
        return False
    confirm(f"{what} ({selected})" if selected else what, yes)
    return True


def _cancelled(queue: Queue, job: Job) -> str:
    if job.claim is None:
        return f"cancelled (undo: {command_line('retry', job.id)})"
    if is_alive(queue.store, job.claim) is False:
        return "will be cancelled when a worker next runs: its own worker is dead"
    return f"is being stopped (undo, once it has stopped: {command_line('retry', job.id)})"


def _cancel_all(queue: Queue, ids: Sequence[str], selected: Selection, options: MoveOptions) -> None:
    if not _ask(f"cancel {counted(len(ids), 'job')}", ids, selected, options.yes):
        return
    left = bulk.cancel_all(queue, ids, options.reason)
    done = counted(len(ids) - len(left), "job")
    running = not {job_id for job_id, _ in queue.store.tables.processing()}.isdisjoint(ids)
    stopping = "; running ones are being stopped" if running else ""
    say(f"cancelled {done}{stopping} (undo: {command_line('retry', ids[0] if len(ids) == 1 else 'ID')})")
    refuse_left(left, "job", "could not be cancelled")


class RetryOptions(msgspec.Struct, frozen=True):
    """The options of `retry` and `dlq retry` that say how selected jobs are retried."""

    limit: AtMost = None
    spread: Spread = None
    dry_run: DryRun = False
    settings: Settings = None
    move: MoveOptions = MoveOptions()

    def read(self, *, named: bool) -> "Retry":
        """The retry that the options ask for, of jobs `named` by id or selected by filters. Raises UsageError."""
        if named and (self.limit or self.spread or self.dry_run):
            raise UsageError("--limit, --spread and --dry-run are for jobs that filters select, not for ids")
        edit, over = parse_settings(self.settings or ()), duration("--spread", self.spread)
        return Retry(edit, self.move.reason, self.limit, over, self.move.yes, self.dry_run)


@with_records
def retry(
    ctx: typer.Context,
    ids: MaybeIds = None,
    *,
    jobs: JobFilters,
    sig: Signature = None,
    options: RetryOptions,
) -> None:
    """Run finished, cancelled or purged jobs again. They become pending at once, with 0 attempts.

    Filters without --state mean dead jobs.
    """
    session: Session = ctx.obj
    selected = jobs.selection(session.clock, signature=sig)
    _check_one_way(ids, bool(selected), "--sig")
    wanted = options.read(named=bool(ids))
    with session.open_existing() as queue:
        if ids:
            retry_named(session, queue, queue.resolve(given_ids(ids)), wanted)
        else:
            retry_selected(session, queue, selected, wanted)


class Retry(NamedTuple):
    """A retry of selected jobs: with which changes, why, of at most how many, over which time (microseconds)."""

    edit: Edit
    reason: str
    limit: int | None
    spread: int
    yes: bool
    dry_run: bool


def retry_named(session: Session, queue: Queue, ids: list[str], wanted: Retry) -> None:
    """Retry these jobs: all, or none if one cannot be retried."""
    editor = Editor(queue, session.config(queue))
    retried = editor.retry(ids, wanted.edit, wanted.reason)
    _say_notes(editor)
    for _, job in retried:
        say(f"{job.id} is pending again")


def _say_notes(editor: Editor) -> None:
    for note in editor.notes:
        say(f"queuectl: {note}")


def retry_selected(session: Session, queue: Queue, selected: Selection, wanted: Retry) -> None:
    """Retry the selected jobs (without a state: dead ones), or only print their ids."""
    selected = selected if selected.states else replace(selected, states=(State.DLQ.value,))
    found = bulk.finished(queue, selected)
    ids = found[: wanted.limit or None]
    if wanted.dry_run:
        print("\n".join(ids), end="\n" if ids else "")
        say(f"would retry {_of(ids, found)}: {selected}")
    elif _ask(f"retry {_of(ids, found)}", ids, selected, wanted.yes):
        _retry_all(session, queue, ids, wanted)


def _of(ids: Sequence[str], found: Sequence[str]) -> str:
    """`10 of 400 jobs`, or `400 jobs` when they are all."""
    return counted(len(ids), "job") if len(ids) == len(found) else f"{len(ids)} of {counted(len(found), 'job')}"


def _retry_all(session: Session, queue: Queue, ids: Sequence[str], wanted: Retry) -> None:
    if wanted.edit or wanted.spread:
        editor = Editor(queue, session.config(queue))
        left = bulk.retry_all_changed(editor, ids, wanted.edit, wanted.reason, wanted.spread)
        _say_notes(editor)
    else:
        left = bulk.retry_all(queue, ids, wanted.reason)
    say(f"{counted(len(ids) - len(left), 'job')} pending again")
    refuse_left(left, "job", "could not be retried")


@with_records
def purge(
    ctx: typer.Context,
    ids: MaybeIds = None,
    *,
    jobs: JobFilters,
    sig: Signature = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="7d", help="Only jobs that ended longer ago than this.")
    ] = None,
    options: MoveOptions,
) -> None:
    """Delete finished jobs from the tables, and their output files. Their history stays in the log."""
    session: Session = ctx.obj
    selected = jobs.selection(session.clock, signature=sig)
    _check_one_way(ids, bool(selected) or older_than is not None, "--sig", "--older-than")
    age = duration("--older-than", older_than)
    with session.open_existing() as queue:
        if ids:
            found = queue.resolve(given_ids(ids))
            bulk.purge_named(queue, found, options.reason)
            say_purged(found, "job")
            return
        found = bulk.finished(queue, selected, older_than=age)
        if _ask(f"purge {counted(len(found), 'job')}", found, selected, options.yes):
            purge_all(queue, found, options.reason, "job")


def duration(option: str, text: str | None) -> int:
    """The microseconds that an option means; 0 without it. Raises UsageError."""
    try:
        return 0 if text is None else parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


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
        known = {count.queue for count in jobs.store.tables.counts() if count.jobs}
    if name is not None and name not in known:
        queues = f"; the queues of jobs are {', '.join(sorted(known))}" if known else ""
        say(f"no job is in queue {name}{queues}")
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
