"""`dlq list|show|retry|purge`: the dead-letter queue, which has the jobs with no retries left."""

import sys
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from queuectl.application import bulk
from queuectl.application.listing import Selection, dead_letters
from queuectl.cli.app import new_app
from queuectl.cli.messages import confirm, say
from queuectl.cli.moves import RetryOptions, purge_all, retry_named, retry_selected, say_purged
from queuectl.cli.option_records import with_records
from queuectl.cli.options import (
    AsOf,
    Filters,
    Id,
    Json,
    MaybeIds,
    Output,
    Reason,
    Signature,
    Yes,
    given_ids,
    selection,
)
from queuectl.cli.output import Answer, form_of
from queuectl.cli.queries import show
from queuectl.cli.session import Session
from queuectl.cli.watching import Watch, WatchCommand, answer_or_watch
from queuectl.domain.machine import State
from queuectl.errors import UsageError
from queuectl.render import json_shapes
from queuectl.render.job_rows import dead_table
from queuectl.units import counted

__all__ = ["app"]

app = new_app(help="Show, retry or purge dead jobs: those with no retries left.", no_args_is_help=True)

All = Annotated[bool, typer.Option("--all", help="Every job in the dead-letter queue.")]


OPTIONS = ", ".join(f"--{each}" for each in (*Filters.__struct_fields__, "sig"))
"""The options that select dead jobs."""


@app.command("list", cls=WatchCommand)
@with_records
def list_dead(
    ctx: typer.Context,
    *,
    filters: Filters,
    sig: Signature = None,
    watch: Watch = None,
    output: Output = None,
    as_json: Json = False,
    as_of: AsOf = None,
) -> None:
    """List the dead jobs, the oldest first."""
    session: Session = ctx.obj
    form = form_of(session, output, as_json)
    selected = selection(session.clock, filters, signature=sig)
    answer_or_watch(session, form, lambda jobs: _listed(dead_letters(jobs, selected)), watch, as_of)


def _listed(rows: list[dict[str, Any]]) -> Answer:
    shown = [json_shapes.dead_letter(row) for row in rows]
    return Answer(
        document=shown,
        rows=shown,
        name="id",
        text=lambda look: dead_table(rows, look.width) if rows else "",
        note="" if rows else "no dead jobs",
    )


@app.command("show")
def show_dead(ctx: typer.Context, job_id: Id, output: Output = None, as_json: Json = False) -> None:
    """Show one dead job."""
    with ctx.obj.open_read_only(missing="refuse") as queue:
        bulk.dead_letters(queue, [job_id])
    show(ctx, job_id, output=output, as_json=as_json)


@app.command("retry")
@with_records
def retry_dead(
    ctx: typer.Context,
    ids: MaybeIds = None,
    everything: All = False,
    *,
    filters: Filters,
    sig: Signature = None,
    options: RetryOptions,
) -> None:
    """Run dead jobs again, with 0 attempts. --all and filters retry every job they can and list the others."""
    session: Session = ctx.obj
    selected = _selected(ids, everything, selection(session.clock, filters, signature=sig))
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
    filters: Filters,
    sig: Signature = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Delete dead jobs from the tables, and their output files. Their history stays in the log."""
    selected = _selected(ids, everything, selection(ctx.obj.clock, filters, signature=sig))
    with ctx.obj.open_existing() as jobs:
        found = bulk.dead_letters(jobs, given_ids(ids)) if ids else bulk.finished(jobs, _dead(selected))
        if not found:
            say("no dead jobs")
            return
        what = f"purge {counted(len(found), 'dead job')}"
        confirm(f"{what} ({selected})" if selected else what, yes)
        if ids:
            bulk.purge_named(jobs, found, reason)
            say_purged(found, "dead job")
        else:
            purge_all(jobs, found, reason, "dead job")


def _selected(ids: list[str] | None, everything: bool, selected: Selection) -> Selection:
    """The jobs that the filters select; empty when ids or --all are given. Raises UsageError."""
    if [bool(ids), everything, bool(selected)].count(True) != 1:
        raise UsageError(f"name the jobs by id, or give --all or filters ({OPTIONS})")
    return selected


def _dead(selected: Selection) -> Selection:
    return replace(selected, states=(State.DLQ.value,))
