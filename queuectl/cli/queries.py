"""`status`, `list`, `show`, `history`: what there is, and how it came to be so."""

from typing import Annotated, Any

import typer
from msgspec.structs import asdict

from queuectl.application.liveness import is_alive
from queuectl.application.queue import Queue
from queuectl.cli.options import FAILED, AsOf, Id, Json, parse_tag
from queuectl.cli.session import Session
from queuectl.domain.job import Job
from queuectl.domain.machine import ALIASES, LIVE, State
from queuectl.errors import NoSuchJobError, UsageError
from queuectl.render import json_shapes as presenting
from queuectl.render.narrative import tell
from queuectl.render.terminal import clean, colored, fitted, table, to_json
from queuectl.store.protocol import MAX_POSITION, PAUSE_ALL, DamagedEventError, JobFilter, Store, WorkerRow
from queuectl.store.sql.tables import SORTS
from queuectl.store.stream_fold import Found, Life, lives
from queuectl.units import SECOND, ago, counted, format_time, local_time, parse_time

__all__ = ["history", "list_jobs", "show", "status"]

SHOWN_STATES = [state for state in State if state is not State.PURGED]
LIST_SPARE = ("priority", "next", "age", "queue", "attempts")
LIST_LIMITS = {"command": 60, "last_error": 40}


def status(ctx: typer.Context, as_json: Json = False, as_of: AsOf = None) -> None:
    """Show how many jobs there are in each queue and state, the workers, and the oldest waiting job."""
    session: Session = ctx.obj
    with session.reading(as_of) as queue:
        overview = _overview(queue, live=as_of is None)
    if as_json:
        print(to_json(overview))
        return
    totals = {"queue": "total", **overview["states"]} if len(overview["queues"]) > 1 else None
    rows = [*overview["queues"], *([totals] if totals else [])]
    print(table(rows, ["queue", *SHOWN_STATES]) if rows else "no jobs")
    for paused in overview["paused"]:
        name = "every queue" if paused["queue"] == PAUSE_ALL else f"queue {paused['queue']}"
        print(clean(f"{name} is paused since {paused['paused_at']} by {paused['paused_by']}", newlines=False))
    print(_workers(overview["workers"]))
    if oldest := overview["oldest_waiting"]:
        print(clean(f"oldest waiting: {oldest['id']} since {oldest['created_at']}", newlines=False))


def _workers(rows: list[dict[str, Any]] | None) -> str:
    if rows is None:
        return "workers: their signs of life are not in the log"
    there = [each for each in rows if each["state"] != "lost"]
    lost = f"; {len(rows) - len(there)} lost (`queuectl worker list`)" if len(there) < len(rows) else ""
    return f"workers: {len(there)}, running {counted(sum(each['running'] for each in there), 'job')}{lost}"


def _overview(queue: Queue, *, live: bool) -> dict[str, Any]:
    store = queue.store
    queues: dict[str, dict[str, Any]] = {}
    for count in store.tables.counts():
        row = queues.setdefault(count.queue, {"queue": count.queue, **dict.fromkeys(SHOWN_STATES, 0)})
        row[count.state] = count.jobs
    oldest = store.tables.jobs(JobFilter(states=(LIVE[0],), descending=False, limit=1))
    return {
        "queues": list(queues.values()),
        "states": {state: sum(row[state] for row in queues.values()) for state in SHOWN_STATES},
        "paused": [
            {"queue": name, **row, "paused_at": format_time(row["paused_at"] * SECOND)}
            for name, row in store.tables.pauses().items()
        ],
        "workers": [presenting.worker(with_state(row, store)) for row in store.workers.rows()] if live else None,
        "oldest_waiting": presenting.job(oldest[0]) if oldest else None,
    }


def with_state(row: WorkerRow, store: Store) -> dict[str, Any]:
    """A worker's row, and whether it is there: `lost` is only one seen dead, `restarting` has no process yet."""
    state = "stopping" if row.stop_requested else "running" if row.slots else "restarting"
    return {**asdict(row), "state": "lost" if is_alive(store, row) is False else state}


def list_jobs(
    ctx: typer.Context,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state", "-s", help=f"{', '.join(SHOWN_STATES)}, completed, dead, failed (waits after a failure)."
        ),
    ] = None,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="Only jobs of this queue.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Only jobs with this tag.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only jobs enqueued since then (-2h, 09:00).")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, max=MAX_POSITION, help="At most so many; 0 means all.")
    ] = 50,
    sort: Annotated[
        str, typer.Option(metavar="[-]KEY", help=f"{', '.join(SORTS)}; with - the greatest first.")
    ] = "-created",
    as_json: Json = False,
    as_of: AsOf = None,
) -> None:
    """List jobs, the newest first."""
    session: Session = ctx.obj
    wanted = _filter(session, state or [], queue or [], tag or [], since, limit, sort)
    with session.reading(as_of) as jobs:
        rows = jobs.store.tables.jobs(wanted)
        now = jobs.store.log.wall()
    if as_json:
        print(to_json([presenting.job(row) for row in rows]))
        return
    shown = [{**row, "next": _next(row, now), "age": ago(now - row["created_at"] * SECOND)} for row in rows]
    columns = ["id", "state", "queue", "priority", "attempts", "next", "age", "command", "last_error"]
    columns, limits = fitted(shown, columns, LIST_LIMITS, LIST_SPARE, session.width)
    print(table(shown, columns, limits=limits, color=session.color) if rows else "no jobs")


def _filter(
    session: Session, states: list[str], queues: list[str], tags: list[str], since: str | None, limit: int, sort: str
) -> JobFilter:
    key = sort.removeprefix("-")
    if key not in SORTS:
        raise UsageError(f"--sort {sort}: sort by {', '.join(SORTS)}, with - the greatest first")
    return JobFilter(
        states=tuple(_state(text) for text in states if text != FAILED),
        failed=FAILED in states,
        queues=tuple(queues),
        tags=dict(parse_tag(text) for text in tags),
        since=None if since is None else _moment(session, since),
        sort=key,
        descending=sort.startswith("-"),
        limit=limit,
    )


def _state(text: str) -> State:
    known = {**{state.value: state for state in SHOWN_STATES}, **ALIASES}
    if text not in known:
        raise UsageError(f"--state {text}: the states are {', '.join([*known, FAILED])}")
    return known[text]


def _moment(session: Session, text: str) -> int:
    try:
        return parse_time(text, session.clock.now())
    except ValueError as error:
        raise UsageError(str(error)) from None


def _next(row: dict[str, Any], now: int) -> str | None:
    """How long until it is due, for a job that waits for its time."""
    return f"in {ago(row['due_at'] - now)}" if row["due_at"] is not None and row["due_at"] > now else None


def show(ctx: typer.Context, job_id: Id, as_json: Json = False, as_of: AsOf = None) -> None:
    """Show one job: its columns, and what was promised to it."""
    session: Session = ctx.obj
    with session.reading(as_of) as queue:
        (found,) = queue.resolve([job_id])
        row, life = queue.store.tables.job(found), next(lives(queue.store.log.examined(stream_id=found)))
    if row is None or life.job is None:
        if life.damage is not None:
            raise life.damage
        raise NoSuchJobError(f"job {found} was purged: see `queuectl history {found}`; `retry` brings it back")
    shown = presenting.whole_job(row, life.job)
    if life.damage is not None:
        shown["damaged"] = str(life.damage)
    if as_json:
        print(to_json(shown))
        return
    width = max(map(len, shown))
    for name, value in shown.items():
        if value not in (None, "", [], {}):
            print(f"{name:<{width}}  {_shown(name, value, row, session.color)}")


def _shown(name: str, value: Any, row: dict[str, Any], color: bool) -> str:
    if name == "state":
        return table([{"state": value}], ["state"], color=color).splitlines()[1]
    if name.endswith("_at"):
        return local_time(row[name] if name == "due_at" else row[name] * SECOND)
    if isinstance(value, dict):
        value = " ".join(f"{k}={v}" for k, v in value.items())
    text = clean(str(value)).rstrip("\n")
    return "\n    ".join(["", *text.split("\n")]) if "\n" in text else text


def history(ctx: typer.Context, job_id: Id, as_json: Json = False) -> None:
    """Tell a job's whole life, event by event: when, who, what, why. Works on purged jobs too."""
    session: Session = ctx.obj
    with session.reading() as queue:
        (found,) = queue.resolve([job_id])
        events = list(queue.store.log.examined(stream_id=found))
    if as_json:
        print(to_json([presenting.event(event) for event in events]))
        return
    life = Life(found)
    print(f"job {found}")
    for event in events:
        _print_event(event, life.job, session.color)
        life.take(event)


def _print_event(event: Found, before: Job | None, color: bool) -> None:
    if isinstance(event, DamagedEventError):
        print(f"\n{colored(f'#{event.position:<6}', 'gray', color)} {clean(str(event), newlines=False)}")
        return
    headline, *details = tell(event, before)
    place = colored(f"#{event.position:<6} {local_time(event.recorded_at)}", "gray", color)
    print(f"\n{place}  {clean(headline, newlines=False)}")
    for detail in [*filter(None, details), f"by {event.actor}"]:
        print(f"        {clean(detail, newlines=False)}")
