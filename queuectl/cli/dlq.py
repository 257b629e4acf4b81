"""`dlq list|show|retry|purge`: the dead-letter queue, jobs whose retries are used up."""

from typing import Annotated

import typer

from queuectl.application import bulk
from queuectl.application.queue import Queue
from queuectl.cli.app import new_app
from queuectl.cli.messages import confirm, refuse_left, say
from queuectl.cli.moves import purge_all, say_purged
from queuectl.cli.options import AsOf, Id, Json, MaybeIds, Reason, Yes
from queuectl.cli.queries import show
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.render import json_shapes
from queuectl.render.terminal import fitted, table, to_json
from queuectl.units import SECOND, counted, local_time

__all__ = ["app"]

app = new_app(help="The dead-letter queue: jobs whose retries are used up.", no_args_is_help=True)

All = Annotated[bool, typer.Option("--all", help="Every job in the dead-letter queue.")]
COLUMNS = ["id", "attempts", "moved_at", "command", "last_error"]
LIMITS = {"command": 60, "last_error": 60}
SPARE = ("moved_at", "attempts")


@app.command("list")
def list_dead(ctx: typer.Context, as_json: Json = False, as_of: AsOf = None) -> None:
    """List the dead jobs, the oldest first."""
    session: Session = ctx.obj
    with session.open_read_only(as_of) as queue:
        rows = queue.store.tables.dlq()
    if as_json:
        print(to_json([json_shapes.dead_letter(row) for row in rows]))
        return
    if not rows:
        say("no dead jobs")
        return
    shown = [{**row, "moved_at": local_time(row["moved_at"] * SECOND)} for row in rows]
    columns, limits = fitted(shown, COLUMNS, LIMITS, SPARE, session.width)
    print(table(shown, columns, limits=limits))


@app.command("show")
def show_dead(ctx: typer.Context, job_id: Id, as_json: Json = False) -> None:
    """Show one dead job."""
    with ctx.obj.open_read_only(missing="refuse") as queue:
        bulk.dead_letters(queue, [job_id])
    show(ctx, job_id, as_json)


@app.command("retry")
def retry_dead(ctx: typer.Context, ids: MaybeIds = None, everything: All = False, reason: Reason = "") -> None:
    """Run dead jobs again, with 0 attempts. --all retries every job it can and lists the others."""
    with ctx.obj.open_existing() as queue:
        found, left = _chosen(queue, ids, everything), bulk.Left()
        if everything:
            left = bulk.retry_all(queue, found, reason)
        else:
            queue.requeue(found, reason)
    say(f"{counted(len(found) - len(left), 'job')} pending again")
    refuse_left(left, "dead job", "could not be retried")


@app.command("purge")
def purge_dead(
    ctx: typer.Context, ids: MaybeIds = None, everything: All = False, reason: Reason = "", yes: Yes = False
) -> None:
    """Delete dead jobs from the tables, and their output files. Their history stays in the log."""
    with ctx.obj.open_existing() as queue:
        found = _chosen(queue, ids, everything)
        if not found:
            say("no dead jobs")
            return
        confirm(f"purge {counted(len(found), 'dead job')}", yes)
        if everything:
            purge_all(queue, found, reason, "dead job")
        else:
            bulk.purge_named(queue, found, reason)
            say_purged(found, "dead job")


def _chosen(queue: Queue, ids: list[str] | None, everything: bool) -> list[str]:
    if bool(ids) == everything:
        raise UsageError("give either ids or --all")
    return bulk.dead_letters(queue, ids) if ids else [row["id"] for row in queue.store.tables.dlq()]
