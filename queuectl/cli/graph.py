"""`graph`: which jobs wait for which, as a tree, or for programs that draw graphs."""

from collections.abc import Callable
from typing import Annotated

import typer
from msgspec import to_builtins

from queuectl.application.graph import graph as graph_of
from queuectl.application.graph_folding import MOST_UNFOLDED
from queuectl.application.listing import any_filter
from queuectl.cli.option_records import with_records
from queuectl.cli.options import JobFilters
from queuectl.cli.output import Answer, Look, PastOptions, print_answer
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.render.formats import FOR_PEOPLE
from queuectl.render.graph_text import Graph, as_dot, as_mermaid, as_tree

__all__ = ["graph"]

FORMS = ("tree", "dot", "mermaid", "json")


@with_records
def graph(
    ctx: typer.Context,
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Only what is around this job.")] = None,
    *,
    jobs: JobFilters,
    picture: Annotated[
        str | None, typer.Option("--format", metavar="FORM", help=f"{', '.join(FORMS)} [default: tree].")
    ] = None,
    unfold: Annotated[
        bool,
        typer.Option(
            "--unfold", help=f"Draw each job, also when more than {MOST_UNFOLDED} of a batch wait alike (as in JSON)."
        ),
    ] = False,
    options: PastOptions,
) -> None:
    """Draw which jobs wait for which. Filters: only what is around the selected jobs."""
    session: Session = ctx.obj
    form = _form(session, picture, options)
    selected = jobs.selection(session.clock)
    if job_id is not None and selected:
        raise UsageError("give an id or filters, not both")
    wanted = any_filter(selected)
    with session.open_read_only(options.as_of, missing="refuse" if job_id else "warn") as queue:
        around = None if job_id is None else queue.resolve([job_id])[0]
        found = graph_of(queue.store, around, wanted, unfolded=unfold or form not in FOR_PEOPLE)
    nodes, edges = to_builtins(found.nodes), to_builtins(found.edges)
    note = "" if picture in ("dot", "mermaid") else _note(found)
    text = _text(found, picture or "tree")
    print_answer(
        session, form, Answer(document={"nodes": nodes, "edges": edges}, rows=nodes, name="id", text=text, note=note)
    )


def _note(found: Graph) -> str:
    if not found.nodes:
        return "no job waits for another"
    return f"{found.joined:,} jobs are drawn in groups (--unfold: one by one)" if found.joined else ""


def _form(session: Session, picture: str | None, options: PastOptions) -> str:
    """The format to print in; a picture is for people. Raises UsageError for two different formats."""
    if picture not in (None, *FORMS):
        raise UsageError(f"--format {picture}: it is one of {', '.join(FORMS)}")
    if picture is None:
        return options.form(session)
    given = options.shape.output or ("json" if options.shape.as_json else None)
    form = "json" if picture == "json" else "table"
    if given not in (None, form):
        raise UsageError(f"--format {picture} and -o {given}: give one of them")
    return form


def _text(found: Graph, picture: str) -> Callable[[Look], str]:
    if picture == "tree":
        return lambda look: as_tree(found, look.color) if found.nodes else ""
    return lambda _: as_dot(found) if picture == "dot" else as_mermaid(found)
