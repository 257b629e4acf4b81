"""`status`, `list`, `show`, `history`: the jobs of a queue."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from queuectl.application.job_details import details, shell_line
from queuectl.application.job_details import history as events_of
from queuectl.application.listing import SORT_KEYS, TURN, JobFilter, Listing, any_filter, check_origin, job_filter
from queuectl.application.listing import list_jobs as listing
from queuectl.application.overview import overview, running
from queuectl.application.queue import Queue
from queuectl.cli.columns import names_in, only
from queuectl.cli.option_records import with_records
from queuectl.cli.options import Filters, Id, Ids, JobFilters, Limit, Signature, given_ids, note_left_out, shown_at_most
from queuectl.cli.output import Answer, Look, OutputOptions, PastOptions, print_answer, print_long
from queuectl.cli.session import Session
from queuectl.cli.watching import WatchCommand, WatchOptions, answer_or_watch
from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job
from queuectl.errors import UsageError
from queuectl.render import json_shapes
from queuectl.render.field_text import field_text
from queuectl.render.formats import FOR_PEOPLE
from queuectl.render.job_rows import Order, job_table
from queuectl.render.narrative import tell
from queuectl.render.status_text import status_text
from queuectl.render.terminal import STATE_COLORS, clean, colored, wrapped
from queuectl.units import local_time

__all__ = ["history", "list_jobs", "print_jobs", "show", "status"]

INDENT = " " * 8
OUTPUT = ("stdout", "stderr")
"""Fields that `show` prints last, because they may be long."""


@with_records
def status(ctx: typer.Context, *, filters: Filters, options: WatchOptions) -> None:
    """Show what is queued, what runs, what is next, and the workers."""
    session: Session = ctx.obj
    wanted = any_filter(filters.selection(session.clock))
    answer_or_watch(session, lambda queue: _overview(queue, wanted, live=options.live), options)


def _overview(queue: Queue, wanted: JobFilter | None, *, live: bool) -> Answer:
    found, now = overview(queue, live=live, wanted=wanted)
    return Answer(
        document=found,
        rows=found["queues"],
        name="queue",
        text=lambda look: status_text(found, now, look.width),
        note="" if found["queues"] else "no jobs",
    )


status.command_class = WatchCommand  # type: ignore[attr-defined]


@with_records
def list_jobs(
    ctx: typer.Context,
    *,
    jobs: JobFilters,
    sig: Signature = None,
    origin: Annotated[
        str | None,
        typer.Option(metavar="KIND[:NAME]", help="Only of this origin: job:ID, schedule:nightly, hook."),
    ] = None,
    ended: Annotated[
        str | None,
        typer.Option(metavar="FROM..TO", help="Only jobs with a run that ended in this time: -2h..-1h, 03:10..03:15."),
    ] = None,
    limit: Limit = None,
    sort: Annotated[
        str | None, typer.Option(metavar="[-]KEY", help=f"{', '.join(SORT_KEYS)}; with - the greatest comes first.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Only these fields, named as in --json: id,state,duration,exit_code."),
    ] = None,
    options: WatchOptions,
) -> None:
    """List jobs: running, next, waiting and ended ones."""
    session: Session = ctx.obj
    people = options.form(session) in FOR_PEOPLE
    at_most = shown_at_most(limit, people)
    order = (TURN if people and options.live else "-created") if sort is None else sort
    wanted = job_filter(jobs.selection(session.clock, signature=sig), order)
    wanted = replace(wanted, origin=None if origin is None else check_origin(origin))
    narrowed, names = _narrowed(session, ended), names_in(columns)

    def ask(jobs: Queue) -> Answer:
        found = listing(jobs, narrowed(jobs, wanted), at_most)
        return only(_listed(found, {} if people and not names else running(jobs.store, found.rows), wanted.sort), names)

    answer_or_watch(session, ask, options, long=True)


list_jobs.command_class = WatchCommand  # type: ignore[attr-defined]


def _narrowed(session: Session, ended: str | None) -> Callable[[Queue, Any], Any]:
    """Narrows a filter to the jobs with a run that ended in this time; None: does nothing. Raises UsageError."""
    if ended is None:
        return lambda _, wanted: wanted
    from queuectl.application.ended_jobs import ended_runs, span_of  # few lists ask for it

    span = span_of(ended, session.clock.now())
    return lambda queue, wanted: ended_runs(queue.store, span).narrowed(wanted)


def _listed(found: Listing, claimed: Mapping[str, Job], sort: str) -> Answer:
    shown = [json_shapes.job(row, claimed.get(row["id"])) for row in found.rows]
    left_out, order = note_left_out(len(found.rows), found.total), Order(sort, found.starts)
    return Answer(
        document=shown,
        rows=shown,
        name="id",
        text=lambda look: job_table(found.rows, found.now, look.width, look.color, order) if shown else "",
        note=left_out if shown else "no jobs",
    )


@with_records
def show(
    ctx: typer.Context,
    ids: Ids,
    as_shell: Annotated[
        bool, typer.Option("--as-shell", help="Print the command line that adds this job again.")
    ] = False,
    original: Annotated[bool, typer.Option("--original", help="As it was added, before it was edited.")] = False,
    tree: Annotated[
        bool, typer.Option("--tree", help="Draw where this job comes from, the jobs that it added, and its copies.")
    ] = False,
    *,
    options: PastOptions,
) -> None:
    """Show jobs: all fields of each, and its output last."""
    session: Session = ctx.obj
    form = options.form(session)
    if (tree or as_shell) and (options.shape.as_json or options.shape.output is not None):
        raise UsageError(f"{'--tree' if tree else '--as-shell'} prints text: leave out --json and -o")
    with session.open_read_only(options.as_of, missing="refuse") as queue:
        found = queue.resolve(given_ids(ids))
        if tree:
            from queuectl.application.origins import origin_tree
            from queuectl.render.graph_text import as_tree

            print(*(as_tree(origin_tree(queue.store, each), session.color) for each in found), sep="\n\n")
            return
        if as_shell:
            print(*(shell_line(queue, each) for each in found), sep="\n")
            return
        shown = [details(queue, each, original=original) for each in found]
    print_jobs(session, form, shown)


def print_jobs(session: Session, form: str, shown: Sequence[dict[str, Any]]) -> None:
    """Print jobs in full, an empty line between two. `--json` prints one job as an object, several as an array."""
    document = shown[0] if len(shown) == 1 else shown

    def text(look: Look) -> str:
        return "\n\n".join(_job(each, look) for each in shown)

    print_answer(session, form, Answer(document=document, rows=shown, name="id", text=text))


def _job(shown: dict[str, Any], look: Look) -> str:
    width = max(map(len, shown))
    names = ["id", "number", *(name for name in shown if name not in ("id", "number", "position", *OUTPUT)), *OUTPUT]
    lines = [
        f"{name:<{width}}  {_shown(name, shown[name], look, width + 2)}"
        for name in names
        if not _is_plain(name, shown[name])
    ]
    return "\n".join(lines)


def _is_plain(name: str, value: Any) -> bool:
    """Whether the field says nothing about this job: it is empty, off, or as it is for most jobs."""
    return value is False or value in (None, "", [], {}) or (name, value) in (("waits", 0), ("umask", "022"))


def _shown(name: str, value: Any, look: Look, indent: int) -> str:
    if name == "state":
        return colored(value, STATE_COLORS.get(value), look.color)
    if name == "because_of":
        value = f"event #{value}"
    text = clean(field_text(name, value)).rstrip("\n")
    if "\n" in text or name in OUTPUT:
        return "\n    ".join(["", *text.split("\n")])
    return wrapped(text, look.width and look.width - indent).replace("\n", "\n" + " " * indent)


@with_records
def history(ctx: typer.Context, job_id: Id, *, options: OutputOptions) -> None:
    """Show every event of a job: when, who, what and why. Works on purged jobs too."""
    session: Session = ctx.obj
    form = options.form(session)
    with session.open_read_only(missing="refuse") as queue:
        (found,) = queue.resolve([job_id])
        events = list(events_of(queue, found))
    shown = [json_shapes.event(event) for event, _ in events]

    def text(look: Look) -> str:
        return "\n".join([f"job {found}", *(_event(event, before, look) for event, before in events)])

    print_long(session, form, Answer(document=shown, rows=shown, name="position", text=text))


def _event(event: RecordedEvent | Exception, before: Job | None, look: Look) -> str:
    if not isinstance(event, RecordedEvent):
        position = getattr(event, "position", "?")
        return f"\n{colored(f'#{position:<6}', 'gray', look.color)} {clean(str(event), newlines=False)}"
    headline, *others = tell(event, before)
    place = f"#{event.position:<6} {local_time(event.recorded_at)}"
    first = wrapped(f"{place}  {clean(headline, newlines=False)}", look.width, INDENT)
    lines = [colored(place, "gray", look.color) + first.removeprefix(place)]
    for line in [*filter(None, others), f"by {event.actor}"]:
        lines.append(wrapped(f"{INDENT}{clean(line, newlines=False)}", look.width, INDENT))
    return "\n" + "\n".join(lines)
