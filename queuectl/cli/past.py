"""`diff` and `explain`: what changed between two moments, and why a job is in its state."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from msgspec.structs import asdict
from typer.core import TyperCommand

from queuectl.application.diff import diff as differences
from queuectl.application.explain import Explanation
from queuectl.application.explain import explain as explained
from queuectl.cli.option_records import with_records
from queuectl.cli.options import Id
from queuectl.cli.output import Answer, Look, OutputOptions, PastOptions, print_answer
from queuectl.cli.session import Session
from queuectl.render.job_rows import short_id
from queuectl.render.narrative import queue_name
from queuectl.render.tables import Column, table
from queuectl.render.terminal import clean, wrapped
from queuectl.units import counted, local_time, parse_time

__all__ = ["diff", "explain"]

SHOWN = (
    "state", "attempts", "run", "last_error", "exit_code", "next_run_at", "locked_by", "cancel_requested",
)  # fmt: skip
"""The columns that are printed when they differ; `--json` prints all of them."""

COLUMNS = ("id", "change", Column("what", limit=1000), Column("command", limit=1000, middle=True))

Moment = Annotated[str, typer.Argument(metavar="A", help="A position of the log, or a time (-2h, 'yesterday 14:00').")]
Until = Annotated[
    str, typer.Argument(metavar="[B]", show_default=False, help="A later position or time [default: head].")
]


class DiffCommand(TyperCommand):
    """Reads `-2h` as a moment, not as options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Sort the arguments into options, of which only -o takes a value, and moments."""
        options, moments, words = list[str](), list[str](), iter(args)
        for word in words:
            is_option = word.startswith("-") and not word[1:2].isdigit()
            (options if is_option else moments).append(word)
            if word in ("-o", "--output"):
                options += [value for value in [next(words, None)] if value is not None]
        return super().parse_args(ctx, [*(each for each in options if each != "--"), "--", *moments])


@with_records
def diff(ctx: typer.Context, first: Moment, second: Until = "head", *, options: OutputOptions) -> None:
    """Show what changed between two moments: jobs, pauses, settings."""
    session: Session = ctx.obj
    form = options.form(session)
    with session.open_read_only() as queue:
        report = differences(queue.store, first, second)
    answer = Answer(document=report, rows=report["jobs"], name="id", text=lambda look: "\n".join(_lines(report, look)))
    print_answer(session, form, answer)


diff.command_class = DiffCommand  # type: ignore[attr-defined]


def _lines(report: Mapping[str, Any], look: Look) -> Iterator[str]:
    yield wrapped(f"from {_place(report['from'])} to {_place(report['to'])}", look.width, "  ")
    rows = [
        {**job, "what": _what(job), "id": job["id"] if look.width is None else short_id(job["id"])}
        for job in report["jobs"]
    ]
    yield table(rows, COLUMNS, width=look.width) if rows else "no job changed"
    for setting in report["settings"]:
        yield clean(f"setting {setting['key']}: {_arrow(setting)}", newlines=False)
    for pause in report["paused"]:
        what = f"paused by {pause['new']}" if pause["new"] else "resumed"
        yield clean(f"{queue_name(pause['queue'])}: {what}", newlines=False)


def _place(moment: Mapping[str, Any]) -> str:
    time = local_time(parse_time(moment["time"], 0)) if moment["time"] else "the beginning"
    return f"position {moment['position']} ({time})"


def _what(job: Mapping[str, Any]) -> str:
    columns = job["columns"]
    if job["change"] != "changed":
        kept = "new" if job["change"] == "added" else "old"
        return f"{columns['state'][kept]}, {counted(columns['attempts'][kept], 'attempt')}"
    shown = [name for name in SHOWN if name in columns] or ["version"]
    return "; ".join(f"{name} {_arrow(columns[name])}" for name in shown)


def _arrow(change: Mapping[str, Any]) -> str:
    old, new = ("-" if value is None else value for value in (change["old"], change["new"]))
    return f"{old} → {new}"


@with_records
def explain(ctx: typer.Context, job_id: Id, *, options: PastOptions) -> None:
    """Explain why a job is in its state, and what you can do."""
    session: Session = ctx.obj
    form = options.form(session)
    with session.open_read_only(options.as_of, missing="refuse") as queue:
        (found,) = queue.resolve([job_id])
        losses = session.config(queue)["max-machine-losses"]
        explanation = explained(queue.store, found, live=options.as_of is None, machine_losses=losses)
    answer = Answer(
        document=explanation,
        rows=[asdict(explanation)],
        name="id",
        text=lambda look: "\n".join(_sentences(explanation, look)),
    )
    print_answer(session, form, answer)


def _sentences(explanation: Explanation, look: Look) -> Iterator[str]:
    yield f"job {explanation.id} is {explanation.state}"
    for sentence in explanation.why:
        yield wrapped(f"  {clean(sentence, newlines=False)}", look.width, "    ")
    for command in explanation.next:
        yield f"next: {command}"
