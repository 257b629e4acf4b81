"""`diff` and `explain`: what changed between two moments, and why a job is where it is."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from queuectl.application.explain import explain as explained
from queuectl.cli.options import AsOf, Id, Json
from queuectl.cli.session import Session
from queuectl.errors import NoSuchJobError, UsageError
from queuectl.render import json_shapes as presenting
from queuectl.render.terminal import clean, fitted, table, to_json
from queuectl.store.past import JobChange, Past, as_of, changed_jobs
from queuectl.store.protocol import PAUSE_ALL
from queuectl.units import counted, format_time

__all__ = ["diff", "explain"]

TOLD = (
    "state", "attempts", "run", "last_error", "exit_code", "next_run_at", "locked_by", "cancel_requested",
)  # fmt: skip
"""The columns whose change a person wants to see; `--json` has all of them."""

COLUMNS = ["id", "change", "what", "command"]
LIMITS = {"what": 1000, "command": 50}

Moment = Annotated[str, typer.Argument(metavar="A", help="A position of the log, or a time (-2h, 'yesterday 14:00').")]
Until = Annotated[str, typer.Argument(metavar="[B]", help="The same, and not before A [default: head].")]


class DiffCommand(TyperCommand):
    """Takes `-2h` for a moment and not for options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Set the options, which take no values, apart from the moments."""
        options = [each for each in args if each.startswith("-") and not each[1:2].isdigit()]
        moments = [each for each in args if each not in options]
        return super().parse_args(ctx, [*(each for each in options if each != "--"), "--", *moments])


def diff(ctx: typer.Context, first: Moment, second: Until = "head", as_json: Json = False) -> None:
    """Show what changed between two moments: jobs, pauses and settings."""
    session: Session = ctx.obj
    with session.reading() as queue:
        before, after = as_of(queue.store, first), as_of(queue.store, second)
        if before.position > after.position:
            raise UsageError(f"{first} (position {before.position}) is after {second} ({after.position}): swap them")
        report = _report(before, after)
    if as_json:
        print(to_json(report))
    else:
        _print(report, session.width)


diff.command_class = DiffCommand  # type: ignore[attr-defined]


def _report(before: Past, after: Past) -> dict[str, Any]:
    paused, then_paused = (
        {queue: row["paused_by"] for queue, row in each.pauses().items()} for each in (before, after)
    )
    return {
        "from": _moment(before),
        "to": _moment(after),
        "jobs": list(map(_job, changed_jobs(before, after))),
        "settings": _differences(before.settings(), after.settings(), "key"),
        "paused": _differences(paused, then_paused, "queue"),
    }


def _moment(past: Past) -> dict[str, Any]:
    return {"position": past.position, "time": format_time(past.moment) if past.moment else None}


def _job(change: JobChange) -> dict[str, Any]:
    """`added`, `changed` or `removed`, and the columns that differ."""
    before, after = (presenting.job(row) if row else {} for row in (change.before, change.after))
    kind = "changed" if before and after else "added" if after else "removed"
    columns = {row.pop("column"): row for row in _differences(before, after, "column")}
    return {"id": change.id, "change": kind, "command": (after or before)["command"], "columns": columns}


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    names = dict.fromkeys([*before, *after])
    pairs = [(name, before.get(name), after.get(name)) for name in names]
    return [{key: name, "old": old, "new": new} for name, old, new in pairs if old != new]


def _print(report: Mapping[str, Any], width: int | None) -> None:
    print(f"from {_place(report['from'])} to {_place(report['to'])}")
    rows = [{**job, "what": _what(job)} for job in report["jobs"]]
    columns, limits = fitted(rows, COLUMNS, LIMITS, (), width)
    print(table(rows, columns, limits=limits) if rows else "no job changed")
    for setting in report["settings"]:
        print(clean(f"setting {setting['key']}: {_arrow(setting)}", newlines=False))
    for pause in report["paused"]:
        name = "every queue" if pause["queue"] == PAUSE_ALL else f"queue {pause['queue']}"
        what = f"paused by {pause['new']}" if pause["new"] else "resumed"
        print(clean(f"{name}: {what}", newlines=False))


def _place(moment: Mapping[str, Any]) -> str:
    return f"position {moment['position']} ({moment['time'] or 'the beginning'})"


def _what(job: Mapping[str, Any]) -> str:
    columns = job["columns"]
    if job["change"] != "changed":
        kept = "new" if job["change"] == "added" else "old"
        return f"{columns['state'][kept]}, {counted(columns['attempts'][kept], 'attempt')}"
    shown = [name for name in TOLD if name in columns] or ["version"]
    return "; ".join(f"{name} {_arrow(columns[name])}" for name in shown)


def _arrow(change: Mapping[str, Any]) -> str:
    old, new = ("-" if value is None else value for value in (change["old"], change["new"]))
    return f"{old} → {new}"


def explain(ctx: typer.Context, job_id: Id, as_json: Json = False, as_of: AsOf = None) -> None:
    """Explain why a job is where it is, from recorded facts, and what can be done."""
    session: Session = ctx.obj
    with session.reading(as_of) as queue:
        (found,) = queue.resolve([job_id])
        explanation = explained(queue.store, found, live=as_of is None)
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
