"""`dlq list|show|retry|purge`: the dead-letter queue, which has the jobs with no retries left."""

from typing import Annotated

import typer

from queuectl.application import bulk
from queuectl.application.editing import parse_settings
from queuectl.application.listing import Selection, dead_letters
from queuectl.application.queue import Queue
from queuectl.cli.app import new_app
from queuectl.cli.messages import confirm, refuse_left, say
from queuectl.cli.moves import Retry, duration, purge_all, retry_selected, say_purged
from queuectl.cli.options import (
    AsOf,
    AtMost,
    DryRun,
    Id,
    Json,
    MaybeIds,
    Output,
    Reason,
    Settings,
    Signature,
    Spread,
    Yes,
    given_ids,
    selection,
)
from queuectl.cli.output import Answer, form_of, print_answer
from queuectl.cli.queries import show
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.render import json_shapes
from queuectl.render.job_rows import dead_table
from queuectl.units import counted

__all__ = ["app"]

app = new_app(help="Show, retry or purge dead jobs: those with no retries left.", no_args_is_help=True)

All = Annotated[bool, typer.Option("--all", help="Every job in the dead-letter queue.")]


@app.command("list")
def list_dead(
    ctx: typer.Context, sig: Signature = None, output: Output = None, as_json: Json = False, as_of: AsOf = None
) -> None:
    """List the dead jobs, the oldest first."""
    session: Session = ctx.obj
    selected = selection(session.clock, None, None, None, None, signature=sig)
    form = form_of(session, output, as_json)
    with session.open_read_only(as_of) as queue:
        rows = dead_letters(queue, selected.signature)
    shown = [json_shapes.dead_letter(row) for row in rows]
    answer = Answer(
        document=shown,
        rows=shown,
        name="id",
        text=lambda look: dead_table(rows, look.width) if rows else "",
        note="" if rows else "no dead jobs",
    )
    print_answer(session, form, answer)


@app.command("show")
def show_dead(ctx: typer.Context, job_id: Id, output: Output = None, as_json: Json = False) -> None:
    """Show one dead job."""
    with ctx.obj.open_read_only(missing="refuse") as queue:
        bulk.dead_letters(queue, [job_id])
    show(ctx, job_id, output=output, as_json=as_json)


@app.command("retry")
def retry_dead(
    ctx: typer.Context,
    ids: MaybeIds = None,
    everything: All = False,
    sig: Signature = None,
    limit: AtMost = None,
    spread: Spread = None,
    dry_run: DryRun = False,
    settings: Settings = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Run dead jobs again, with 0 attempts. --all and --sig retry every job they can and list the others."""
    session: Session = ctx.obj
    selected = _selected(session, ids, everything, sig)
    if not selected and (limit or spread or dry_run or settings):
        raise UsageError("--limit, --spread, --dry-run and --set go with --sig")
    wanted = Retry(parse_settings(settings or ()), reason, limit, duration("--spread", spread), yes, dry_run)
    with session.open_existing() as queue:
        if selected:
            retry_selected(session, queue, selected, wanted)
            return
        found, left = _chosen(queue, ids, everything), bulk.Left()
        if everything:
            left = bulk.retry_all(queue, found, reason)
        else:
            queue.requeue(found, reason)
    say(f"{counted(len(found) - len(left), 'job')} pending again")
    refuse_left(left, "dead job", "could not be retried")


@app.command("purge")
def purge_dead(
    ctx: typer.Context,
    ids: MaybeIds = None,
    everything: All = False,
    sig: Signature = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Delete dead jobs from the tables, and their output files. Their history stays in the log."""
    session: Session = ctx.obj
    selected = _selected(session, ids, everything, sig)
    with session.open_existing() as queue:
        found = bulk.finished(queue, selected) if selected else _chosen(queue, ids, everything)
        if not found:
            say("no dead jobs")
            return
        what = f"purge {counted(len(found), 'dead job')}"
        confirm(f"{what} ({selected})" if selected else what, yes)
        if everything or selected:
            purge_all(queue, found, reason, "dead job")
        else:
            bulk.purge_named(queue, found, reason)
            say_purged(found, "dead job")


def _selected(session: Session, ids: list[str] | None, everything: bool, sig: str | None) -> Selection:
    """The dead jobs with a signature; empty when ids or --all are given."""
    if [bool(ids), everything, sig is not None].count(True) != 1:
        raise UsageError("name the jobs by id, or give --all or --sig")
    return selection(session.clock, None, None, None, None, signature=sig)


def _chosen(queue: Queue, ids: list[str] | None, everything: bool) -> list[str]:
    return bulk.dead_letters(queue, given_ids(ids)) if ids else [row["id"] for row in queue.store.tables.dlq()]
