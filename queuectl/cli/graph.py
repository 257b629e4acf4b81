"""`graph`: which jobs wait for which, as a tree, or for programs that draw graphs."""

from typing import Annotated

import typer

from queuectl.application.graph import graph as graph_of
from queuectl.cli.messages import say
from queuectl.cli.options import AsOf, Batch
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.render.graph_text import as_dot, as_mermaid, as_tree
from queuectl.render.terminal import to_json

__all__ = ["graph"]

FORMS = ("tree", "dot", "mermaid", "json")


def graph(
    ctx: typer.Context,
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Only what is around this job.")] = None,
    batch: Batch = None,
    form: Annotated[str, typer.Option("--format", metavar="FORM", help=f"{', '.join(FORMS)}.")] = "tree",
    as_of: AsOf = None,
) -> None:
    """Draw which jobs wait for which."""
    session: Session = ctx.obj
    if form not in FORMS:
        raise UsageError(f"--format {form}: it is one of {', '.join(FORMS)}")
    if job_id is not None and batch is not None:
        raise UsageError("give an id or --batch, not both")
    with session.open_read_only(as_of, missing="refuse" if job_id else "accept") as queue:
        wanted = None if job_id is None else queue.resolve([job_id])[0]
        found = graph_of(queue.store, wanted, batch)
    if form == "json":
        print(to_json(found))
    elif form == "tree":
        print(as_tree(found, session.color)) if found.nodes else say("no job waits for another")
    else:
        print(as_dot(found) if form == "dot" else as_mermaid(found))
