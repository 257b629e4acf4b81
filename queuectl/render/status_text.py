"""`status` for people, from the shape of its JSON: the counts, what runs, what is next, pauses, and the workers."""

from collections.abc import Iterator, Mapping
from typing import Any

from queuectl.domain.dependencies import held_because
from queuectl.domain.machine import State
from queuectl.errors import command_line
from queuectl.render.hints import unserved_line
from queuectl.render.job_rows import short_id
from queuectl.render.narrative import pause_sentence
from queuectl.render.tables import Column, table
from queuectl.render.terminal import clean, wrapped
from queuectl.units import about, ago, counted, local_time, parse_time

__all__ = ["status_text"]

RUNNING = (
    Column("number", short="#"),
    Column("running", short="for"),
    Column("command", limit=1000, least=20, middle=True),
    Column("worker", limit=40, least=12, spare=1, middle=True),
)
MOST = 20
"""Running jobs that are shown one by one."""


def status_text(found: Mapping[str, Any], now: int, width: int | None) -> str:
    """The text. `now`: the log's time in microseconds; `width`: the terminal's, None: nothing is cut."""
    return "\n".join(_parts(found, now, width))


def _parts(found: Mapping[str, Any], now: int, width: int | None) -> Iterator[str]:
    if found["queues"]:
        totals = [{"queue": "total", **found["states"]}] if len(found["queues"]) > 1 else []
        columns = [Column("queue", limit=1000, least=10, middle=True), *found["states"]]
        yield table([*found["queues"], *totals], columns, width=width)
    if found["running"]:
        yield _running(found, now, width)
    for line in (*_waiting(found, now), *_pauses(found), _workers(found["workers"])):
        yield wrapped(clean(line, newlines=False), width, "  ")


def _running(found: Mapping[str, Any], now: int, width: int | None) -> str:
    rows = [
        {
            "number": job["number"],
            "running": ago(now - parse_time(job["locked_at"], 0)) if job["locked_at"] else None,
            "command": job["command"],
            "worker": job["locked_by"],
        }
        for job in found["running"][:MOST]
    ]
    more = len(found["running"]) - len(rows)
    return table(rows, RUNNING, width=width) + (f"\nand {more} more" if more else "")


def _waiting(found: Mapping[str, Any], now: int) -> Iterator[str]:
    if found["retrying"]:
        yield f"{_of_pending(found, 'retrying')} for a retry"
    if found["waiting"]:
        yield f"{_of_pending(found, 'waiting')} for other jobs"
    if found["held"]:
        why = held_because(found["held"])
        yield f"{found['held']} held: {why} (`{command_line('list', '--state', 'held')}`)"
    if dead := found["states"][State.DLQ]:
        yield f"{counted(dead, 'dead job')} (`{command_line('failures')}`)"
    if oldest := found["oldest_due"]:
        due = local_time(parse_time(oldest["due_at"], 0))
        yield f"oldest due job: {short_id(oldest['id'])} (#{oldest['number']}), due since {due}"
    elif found["next_due"] and (due_at := parse_time(found["next_due"], 0)) > now:
        yield f"next due in {about(due_at - now)}, at {local_time(due_at)}"
    for late in found["late_schedules"]:
        remedy = f" ({late['remedy']})" if late["remedy"] else ""
        yield f"schedule {late['name']} is late by {ago(late['late'])}: {late['why']}{remedy}"
    if found["unserved"]:
        served = [
            row["queue"] for row in found["queues"] if row[State.PENDING] and row["queue"] not in found["unserved"]
        ]
        yield f"{', '.join(found['unserved'])}: {unserved_line()}" if served else unserved_line()


def _of_pending(found: Mapping[str, Any], name: str) -> str:
    """`1 of 2 pending jobs waits`, `1 of 1 pending job waits`, `2 of 3 pending jobs wait`."""
    verb = "waits" if found[name] == 1 else "wait"
    return f"{found[name]} of {counted(found['states'][State.PENDING], 'pending job')} {verb}"


def _pauses(found: Mapping[str, Any]) -> Iterator[str]:
    for row in found["paused"]:
        since = local_time(parse_time(row["paused_at"], 0))
        yield pause_sentence(row["queue"], since, row["paused_by"])


def _workers(rows: list[dict[str, Any]] | None) -> str:
    if rows is None:
        return "workers: unknown (heartbeats are not part of history)"
    alive = [each for each in rows if each["state"] != "lost"]
    lost = f"; {len(rows) - len(alive)} lost (see `{command_line('worker', 'list')}`)" if len(alive) < len(rows) else ""
    return f"workers: {len(alive)}, running {counted(sum(each['running'] for each in alive), 'job')}{lost}"
