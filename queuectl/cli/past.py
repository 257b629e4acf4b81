"""`diff` and `explain`: what changed between two moments, and why a job is in its state."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from queuectl.application.diff import diff as differences
from queuectl.application.explain import explain as explained
from queuectl.cli.options import AsOf, Id, Json
from queuectl.cli.session import Session
from queuectl.errors import NoSuchJobError
from queuectl.render.narrative import queue_name
from queuectl.render.tables import Column, table
from queuectl.render.terminal import clean, to_json
from queuectl.units import counted

__all__ = ["diff", "explain"]

SHOWN = (
    "state", "attempts", "run", "last_error", "exit_code", "next_run_at", "locked_by", "cancel_requested",
)  # fmt: skip
"""The columns that are printed when they differ; `--json` prints all of them."""

COLUMNS = ("id", "change", Column("what", limit=1000), Column("command", limit=1000, middle=True))

Moment = Annotated[str, typer.Argument(metavar="A", help="A position of the log, or a time (-2h, 'yesterday 14:00').")]
Until = Annotated[str, typer.Argument(metavar="[B]", help="A later position or time.")]


class DiffCommand(TyperCommand):
    """Reads `-2h` as a moment, not as options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Sort the arguments into options, which take no values, and moments."""
        options = [each for each in args if each.startswith("-") and not each[1:2].isdigit()]
        moments = [each for each in args if each not in options]
        return super().parse_args(ctx, [*(each for each in options if each != "--"), "--", *moments])


def diff(ctx: typer.Context, first: Moment, second: Until = "head", as_json: Json = False) -> None:
    """Show what changed between two moments: jobs, pauses and settings."""
    session: Session = ctx.obj
    with session.open_read_only() as queue:
        report = differences(queue.store, first, second)
    if as_json:
        print(to_json(report))
    else:
        _print(report, session.width)


diff.command_class = DiffCommand  # type: ignore[attr-defined]


def _print(report: Mapping[str, Any], width: int | None) -> None:
    print(f"from {_place(report['from'])} to {_place(report['to'])}")
    rows = [{**job, "what": _what(job)} for job in report["jobs"]]
    print(table(rows, COLUMNS, width=width) if rows else "no job changed")
    for setting in report["settings"]:
        print(clean(f"setting {setting['key']}: {_arrow(setting)}", newlines=False))
    for pause in report["paused"]:
        what = f"paused by {pause['new']}" if pause["new"] else "resumed"
        print(clean(f"{queue_name(pause['queue'])}: {what}", newlines=False))


def _place(moment: Mapping[str, Any]) -> str:
    return f"position {moment['position']} ({moment['time'] or 'the beginning'})"


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


def explain(ctx: typer.Context, job_id: Id, as_json: Json = False, as_of: AsOf = None) -> None:
    """Explain why a job is in its state, and what you can do."""
    session: Session = ctx.obj
    with session.open_read_only(as_of, missing="refuse") as queue:
        (found,) = queue.resolve([job_id])
        losses = session.config(queue)["max-machine-losses"]
        explanation = explained(queue.store, found, live=as_of is None, machine_losses=losses)
    if explanation is None:
        raise NoSuchJobError(f"no such job: {found}")
    if as_json:
        print(to_json(explanation))
        return
    print(f"job {found} is {explanation.state}")
    for sentence in explanation.why:
        print(f"  {clean(sentence, newlines=False)}")
    for command in explanation.next:
        print(f"next: {command}")
