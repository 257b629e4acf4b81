"""`dlq list|show|retry|purge`: the dead-letter queue, which has the jobs with no retries left."""

import sys
from typing import Annotated, Any

import msgspec
import typer
from msgspec.structs import replace

from queuectl.application import bulk
from queuectl.application.job_details import details
from queuectl.application.listing import Selection, dead_letters
from queuectl.cli.app import new_app
from queuectl.cli.messages import confirm, say
from queuectl.cli.moves import RetryOptions, purge_all, retry_named, retry_selected, say_purged
from queuectl.cli.option_records import with_records
from queuectl.cli.options import (
    FILTERS,
    Filters,
    Id,
    Limit,
    MaybeIds,
    MoveOptions,
    Signature,
    given_ids,
    note_left_out,
    shown_at_most,
)
from queuectl.cli.output import Answer, PastOptions
from queuectl.cli.queries import print_jobs
from queuectl.cli.session import Session
from queuectl.cli.watching import WatchCommand, WatchOptions, answer_or_watch
from queuectl.domain.machine import State
from queuectl.errors import UsageError
from queuectl.render import json_shapes
from queuectl.render.formats import FOR_PEOPLE
from queuectl.render.job_rows import dead_table
from queuectl.runtime import Clock
from queuectl.units import counted

__all__ = ["app"]

app = new_app(help="Show, retry or purge dead jobs: those with no retries left.", no_args_is_help=True)

All = Annotated[bool, typer.Option("--all", help="Every job in the dead-letter queue.")]


class DeadJobs(msgspec.Struct, frozen=True):
    """The options that select dead jobs."""

    filters: Filters = Filters()
    sig: Signature = None

    def selection(self, clock: Clock) -> Selection:
        """The jobs that these options select. Raises UsageError."""
        return self.filters.selection(clock, signature=self.sig)


OPTIONS = ", ".join((*FILTERS, "--sig"))


@app.command("list", cls=WatchCommand)
@with_records
def list_dead(
    ctx: typer.Context,
    *,
    dead: DeadJobs,
    limit: Limit = None,
    options: WatchOptions,
) -> None:
    """List the dead jobs, the oldest first."""
    session: Session = ctx.obj
    at_most = shown_at_most(limit, options.form(session) in FOR_PEOPLE)
    selected = dead.selection(session.clock)
    answer_or_watch(session, lambda jobs: _listed(dead_letters(jobs, selected), jobs.store.log.now(), at_most), options)


def _listed(found: list[dict[str, Any]], now: int, at_most: int) -> Answer:
    rows = found[: at_most or None]
    shown = [json_shapes.dead_letter(row) for row in rows]
    return Answer(
        document=shown,
        rows=shown,
        name="id",
        text=lambda look: dead_table(rows, now, look.width) if rows else "",
        note=note_left_out(len(rows), len(found)) if rows else "no dead jobs",
    )


@app.command("show")
@with_records
def show_dead(ctx: typer.Context, job_id: Id, *, options: PastOptions) -> None:
    """Show one dead job."""
    session: Session = ctx.obj
    form = options.form(session)
    with session.open_read_only(options.as_of, missing="refuse") as queue:
        shown = details(queue, bulk.dead_letters(queue, [job_id])[0])
    print_jobs(session, form, [shown])


@app.command("retry")
@with_records
def retry_dead(
    ctx: typer.Context,
    ids: MaybeIds = None,
    everything: All = False,
    *,
    dead: DeadJobs,
    options: RetryOptions,
) -> None:
    """Run dead jobs again, with 0 attempts. --all and filters retry every job they can and list the others."""
    session: Session = ctx.obj
    selected = _selected(ids, everything, dead.selection(session.clock))
    wanted = options.read(named=bool(ids))
    if everything and not sys.stdin.isatty():
        wanted = wanted._replace(yes=True)  # in a script --all is enough: a retry can be undone
    with session.open_existing() as jobs:
        if ids:
            retry_named(session, jobs, bulk.dead_letters(jobs, given_ids(ids)), wanted)
        else:
            retry_selected(session, jobs, _dead(selected), wanted)


@app.command("purge")
@with_records
def purge_dead(
    ctx: typer.Context,
    ids: MaybeIds = None,
    everything: All = False,
    *,
    dead: DeadJobs,
    options: MoveOptions,
) -> None:
    """Delete dead jobs from the tables, and their output files. Their history stays in the log."""
    selected = _selected(ids, everything, dead.selection(ctx.obj.clock))
    with ctx.obj.open_existing() as jobs:
        found = bulk.dead_letters(jobs, given_ids(ids)) if ids else bulk.finished(jobs, _dead(selected))
        if not found:
            say("no dead jobs")
            return
        what = f"purge {counted(len(found), 'dead job')}"
        confirm(f"{what} ({selected})" if selected else what, options.yes)
        if ids:
            bulk.purge_named(jobs, found, options.reason)
            say_purged(found, "dead job")
        else:
            purge_all(jobs, found, options.reason, "dead job")


def _selected(ids: list[str] | None, everything: bool, selected: Selection) -> Selection:
    """The jobs that the filters select; empty when ids or --all are given. Raises UsageError."""
    if [bool(ids), everything, bool(selected)].count(True) != 1:
        raise UsageError(f"name the jobs by id, or give --all or filters ({OPTIONS})")
    return selected


def _dead(selected: Selection) -> Selection:
    return replace(selected, states=(State.DLQ.value,))
