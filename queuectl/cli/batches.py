"""`batches`: each batch with the counts of its jobs."""

import typer

from queuectl.application.batches import batches as batches_of
from queuectl.application.queue import Queue
from queuectl.cli.options import AsOf, Json, Output
from queuectl.cli.output import Answer, form_of
from queuectl.cli.session import Session
from queuectl.cli.watching import Watch, WatchCommand, answer_or_watch
from queuectl.render.batch_rows import batch_table

__all__ = ["batches"]


def batches(
    ctx: typer.Context,
    watch: Watch = None,
    output: Output = None,
    as_json: Json = False,
    as_of: AsOf = None,
) -> None:
    """List the batches, with the counts of their jobs."""
    session: Session = ctx.obj
    answer_or_watch(session, form_of(session, output, as_json), _listed, watch, as_of)


batches.command_class = WatchCommand  # type: ignore[attr-defined]


def _listed(queue: Queue) -> Answer:
    rows = batches_of(queue)
    return Answer(
        document=rows,
        rows=rows,
        name="name",
        text=lambda look: batch_table(rows, look.width) if rows else "",
        note="" if rows else "no batches",
    )
