"""`metrics`: prints the metrics of a queue once, for a collector that reads text files."""

from typing import Annotated

import typer

from queuectl.application.metrics import metrics as metrics_of
from queuectl.application.run_tally import load_tally, save_tally
from queuectl.cli.app import refuse_empty
from queuectl.cli.progress_bar import progress
from queuectl.cli.session import Session

__all__ = ["metrics"]


def metrics(
    ctx: typer.Context,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Remember the counts of runs in FILE and continue from there [default: read the whole log].",
        ),
    ] = None,
) -> None:
    """Print metrics for Prometheus. node_exporter reads such a text with its textfile collector."""
    session: Session = ctx.obj
    refuse_empty("--state", state)
    with session.open_read_only(missing="refuse") as queue:
        tally, head = load_tally(queue.store, state), queue.store.log.head().position
        with progress("counting runs", head) as reached:
            tally.read(queue.store, head, reached)
        text = metrics_of(queue, tally)
    if state is not None:
        save_tally(tally, state)
    print(text, end="")
