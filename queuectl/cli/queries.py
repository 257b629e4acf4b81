"""`status`, `list`, `show`, `history`: the jobs of a queue."""

from typing import Annotated, Any

import typer

from queuectl.application.job_details import details
from queuectl.application.job_details import history as events_of
from queuectl.application.listing import SORTS, job_filter
from queuectl.application.listing import list_jobs as listing
from queuectl.application.overview import SHOWN_STATES, overview
from queuectl.cli.messages import say
from queuectl.cli.options import AsOf, Id, Json, Limit, moment, parse_tag
from queuectl.cli.session import Session
from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job
from queuectl.errors import command_line
from queuectl.render import json_shapes
from queuectl.render.narrative import pause_sentence, tell
from queuectl.render.terminal import clean, colored, fitted, table, to_json
from queuectl.units import SECOND, ago, counted, local_time, parse_time

__all__ = ["history", "list_jobs", "show", "status"]

COLUMNS = ["id", "state", "queue", "priority", "attempts", "next", "age", "command", "last_error"]
SPARE = ("priority", "next", "age", "queue", "attempts")
LIMITS = {"command": 60, "last_error": 40}
SHOWN = 50
"""Jobs that `list` prints when no --limit is given."""


def status(ctx: typer.Context, as_json: Json = False, as_of: AsOf = None) -> None:
    """Show the number of jobs in each state, by queue. Also the workers, and the oldest job that is due."""
    session: Session = ctx.obj
    with session.open_read_only(as_of) as queue:
        found = overview(queue, live=as_of is None)
    if as_json:
        print(to_json(found))
        return
    totals = [{"queue": "total", **found["states"]}] if len(found["queues"]) > 1 else []
    if found["queues"]:
        print(table([*found["queues"], *totals], ["queue", *SHOWN_STATES]))
    else:
        say("no jobs")
    for paused in found["paused"]:
        print(clean(pause_sentence(paused["queue"], paused["paused_at"], paused["paused_by"]), newlines=False))
    print(_workers(found["workers"]))
    if oldest := found["oldest_due"]:
        print(clean(f"oldest due job: {oldest['id']}, due since {oldest['due_at']}", newlines=False))


def _workers(rows: list[dict[str, Any]] | None) -> str:
    if rows is None:
        return "workers: unknown (heartbeats are not part of history)"
    alive = [each for each in rows if each["state"] != "lost"]
    lost = f"; {len(rows) - len(alive)} lost (see `{command_line('worker', 'list')}`)" if len(alive) < len(rows) else ""
    return f"workers: {len(alive)}, running {counted(sum(each['running'] for each in alive), 'job')}{lost}"


def list_jobs(
    ctx: typer.Context,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            "-s",
            metavar="STATE",
            help=f"{', '.join(SHOWN_STATES)}, completed, dead, or failed (failed, will run again).",
        ),
    ] = None,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="Only jobs of this queue.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Only jobs with this tag.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only jobs added since this time (-2h, 09:00).")
    ] = None,
    limit: Limit = None,
    sort: Annotated[
        str, typer.Option(metavar="[-]KEY", help=f"{', '.join(SORTS)}; with - the greatest comes first.")
    ] = "-created",
    as_json: Json = False,
    as_of: AsOf = None,
) -> None:
    """List jobs, the newest first."""
    session: Session = ctx.obj
    at_most = (0 if as_json else SHOWN) if limit is None else limit
    tags = dict(map(parse_tag, tag or ()))
    wanted = job_filter(state or (), queue or (), tags, moment(session.clock, since), sort)
    with session.open_read_only(as_of) as jobs:
        found = listing(jobs, wanted, at_most)
    if as_json:
        print(to_json([json_shapes.job(row) for row in found.rows]))
        return
    if not found.rows:
        say("no jobs")
        return
    shown = [_listed(row, found.now) for row in found.rows]
    columns, limits = fitted(shown, COLUMNS, LIMITS, SPARE, session.width)
    print(table(shown, columns, limits=limits, color=session.color))
    if found.total > len(found.rows):
        say(f"{len(found.rows)} of {found.total} shown (--limit 0: all)")


def _listed(row: dict[str, Any], now: int) -> dict[str, Any]:
    due = row["due_at"]
    waits = f"in {ago(due - now)}" if due is not None and due > now else None
    return {**row, "next": waits, "age": ago(now - row["created_at"] * SECOND)}


def show(ctx: typer.Context, job_id: Id, as_json: Json = False, as_of: AsOf = None) -> None:
    """Show one job: all its fields, and its retry settings."""
    session: Session = ctx.obj
    with session.open_read_only(as_of, missing="refuse") as queue:
        shown = details(queue, *queue.resolve([job_id]))
    if as_json:
        print(to_json(shown))
        return
    width = max(map(len, shown))
    for name, value in shown.items():
        if value not in (None, "", [], {}):
            print(f"{name:<{width}}  {_shown(name, value, session.color)}")


def _shown(name: str, value: Any, color: bool) -> str:
    if name == "state":
        return table([{"state": value}], ["state"], color=color).splitlines()[1]
    if name.endswith("_at"):
        return local_time(parse_time(value, 0))
    if isinstance(value, dict):
        value = " ".join(f"{k}={v}" for k, v in value.items())
    text = clean(str(value)).rstrip("\n")
    return "\n    ".join(["", *text.split("\n")]) if "\n" in text else text


def history(ctx: typer.Context, job_id: Id, as_json: Json = False) -> None:
    """Show every event of a job: when, who, what and why. Works on purged jobs too."""
    session: Session = ctx.obj
    with session.open_read_only(missing="refuse") as queue:
        (found,) = queue.resolve([job_id])
        events = list(events_of(queue, found))
    if as_json:
        print(to_json([json_shapes.event(event) for event, _ in events]))
        return
    print(f"job {found}")
    for event, before in events:
        _print_event(event, before, session.color)


def _print_event(event: RecordedEvent | Exception, before: Job | None, color: bool) -> None:
    if not isinstance(event, RecordedEvent):
        position = getattr(event, "position", "?")
        print(f"\n{colored(f'#{position:<6}', 'gray', color)} {clean(str(event), newlines=False)}")
        return
    headline, *others = tell(event, before)
    place = colored(f"#{event.position:<6} {local_time(event.recorded_at)}", "gray", color)
    print(f"\n{place}  {clean(headline, newlines=False)}")
    for line in [*filter(None, others), f"by {event.actor}"]:
        print(f"        {clean(line, newlines=False)}")
