"""`batches`: each batch with the counts of its jobs."""

import typer

from queuectl.application.batches import batches as batches_of
from queuectl.cli.options import AsOf, Json, Output
from queuectl.cli.output import Answer, form_of, print_answer
from queuectl.cli.session import Session
from queuectl.render.batch_rows import batch_table

__all__ = ["batches"]


def batches(ctx: typer.Context, output: Output = None, as_json: Json = False, as_of: AsOf = None) -> None:
    """List the batches, with the counts of their jobs."""
    session: Session = ctx.obj
    form = form_of(session, output, as_json)
    with session.open_read_only(as_of) as queue:
        rows = batches_of(queue)
    print_answer(
        session,
        form,
        Answer(
            document=rows,
            rows=rows,
            name="name",
            text=lambda look: batch_table(rows, look.width) if rows else "",
            note="" if rows else "no batches",
        ),
    )
