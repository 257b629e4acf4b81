"""`batches`: each batch with the counts of its jobs."""

import typer

from queuectl.application.batches import batches as batches_of
from queuectl.application.queue import Queue
from queuectl.cli.option_records import with_records
from queuectl.cli.output import Answer
from queuectl.cli.watching import WatchCommand, WatchOptions, answer_or_watch
from queuectl.render.batch_rows import batch_table

__all__ = ["batches"]


@with_records
def batches(ctx: typer.Context, *, options: WatchOptions) -> None:
    """List the batches, with the counts of their jobs."""
    answer_or_watch(ctx.obj, _listed, options)


batches.command_class = WatchCommand  # type: ignore[attr-defined]


def _listed(queue: Queue) -> Answer:
    rows, now = batches_of(queue), queue.store.log.now()
    return Answer(
        document=rows,
        rows=rows,
        name="name",
        text=lambda look: batch_table(rows, now, look.width) if rows else "",
        note="" if rows else "no batches",
    )
