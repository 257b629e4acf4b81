"""`dlq list|show|retry|purge`: the jobs whose retries are used up."""

from typing import Annotated

import typer

from queuectl.application.queue import Queue
from queuectl.cli.app import new_app
from queuectl.cli.messages import confirm, refuse_left, say
from queuectl.cli.moves import in_batches, purge_all, purge_jobs
from queuectl.cli.options import AsOf, Id, Json, Reason, Yes
from queuectl.cli.queries import show
from queuectl.cli.session import Session
from queuectl.domain.machine import State
from queuectl.errors import QueuectlError, RefusedError, UsageError
from queuectl.render import json_shapes as presenting
from queuectl.render.terminal import fitted, table, to_json
from queuectl.units import SECOND, counted, local_time

__all__ = ["app"]

app = new_app(help="The dead-letter queue: jobs whose retries are used up.", no_args_is_help=True)

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID...", help="Job ids, or the first parts of them. If one id is wrong, nothing is done."),
]
All = Annotated[bool, typer.Option("--all", help="Every job in the dead-letter queue.")]
COLUMNS = ["id", "attempts", "moved_at", "command", "last_error"]
LIMITS = {"command": 60, "last_error": 60}
SPARE = ("moved_at", "attempts")


@app.command("list")
def list_dead(ctx: typer.Context, as_json: Json = False, as_of: AsOf = None) -> None:
    """List the dead letters, the oldest first."""
    session: Session = ctx.obj
    with session.reading(as_of) as queue:
        rows = queue.store.tables.dlq()
    if as_json:
        print(to_json([presenting.dead_letter(row) for row in rows]))
        return
    shown = [{**row, "moved_at": local_time(row["moved_at"] * SECOND)} for row in rows]
    columns, limits = fitted(shown, COLUMNS, LIMITS, SPARE, session.width)
    print(table(shown, columns, limits=limits) if rows else "no dead letters")


@app.command("show")
def show_dead(ctx: typer.Context, job_id: Id, as_json: Json = False) -> None:
    """Show one dead letter."""
    with ctx.obj.reading() as queue:
        _dead(queue, [job_id])
    show(ctx, job_id, as_json)


@app.command("retry")
def retry_dead(ctx: typer.Context, ids: Ids = None, everything: All = False, reason: Reason = "") -> None:
    """Run dead letters again: pending at once, attempts at 0. With --all those that can be; what is left is named."""
    with ctx.obj.existing() as queue:
        found, left = _chosen(queue, ids, everything), dict[str, QueuectlError]()
        if everything:
            left = in_batches(found, lambda batch: queue.requeue_those_that_can(batch, reason))
        else:
            queue.requeue(found, reason)
    say(f"{counted(len(found) - len(left), 'job')} pending again")
    refuse_left(left, "dead letter", "could not be retried")


@app.command("purge")
def purge_dead(
    ctx: typer.Context, ids: Ids = None, everything: All = False, reason: Reason = "", yes: Yes = False
) -> None:
    """Take dead letters out of the tables; the log keeps their history."""
    with ctx.obj.existing() as queue:
        found = _chosen(queue, ids, everything)
        if not found:
            say("no dead letters")
            return
        confirm(f"purge {counted(len(found), 'dead letter')}", yes)
        if everything:
            purge_all(queue, found, reason, "dead letter")
        else:
            purge_jobs(queue, found, reason)


def _chosen(queue: Queue, ids: list[str] | None, everything: bool) -> list[str]:
    if bool(ids) == everything:
        raise UsageError("give either ids or --all")
    return _dead(queue, ids) if ids else [row["id"] for row in queue.store.tables.dlq()]


def _dead(queue: Queue, ids: list[str]) -> list[str]:
    """The ids, whole. Raises RefusedError for a job that is not in the dead-letter queue."""
    found = queue.resolve(ids)
    for job_id in found:
        if not queue.store.tables.dlq(job_id):
            job = queue.store.log.load(job_id)
            state = job.state if job else "gone"
            raise RefusedError(f"job {job_id} is {state}, not {State.DLQ}: see `queuectl history {job_id}`")
    return found
