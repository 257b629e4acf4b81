"""Schedules for people: the table of them, one in full, and their events in words."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from queuectl.domain import events as e
from queuectl.render.json_shapes import IN_SECONDS
from queuectl.render.tables import Column, table
from queuectl.units import SECOND, about, ago, counted, format_duration, local_time, parse_time

__all__ = ["REASONS", "schedule_event", "schedule_table", "schedule_text"]

COLUMNS = (
    Column("name", limit=1000, least=12, middle=True),
    Column("schedule", limit=1000, least=20, middle=True),
    Column("zone", spare=2, usual="UTC"),
    Column("next"),
    Column("last", spare=1),
    Column("state"),
    Column("late"),
    Column("paused", spare=3),
)

REASONS = {
    "overlap": "an earlier job was not over",
    "late": "they were missed while no worker ran",
    "paused": "the schedule was paused",
    "expired": "the schedule's end had come",
    "changed": "the schedule was changed or removed before a worker came",
    "taken": "there was a job with that id",
}


def schedule_table(rows: Sequence[Mapping[str, Any]], now: int, width: int | None) -> str:
    """Rows in the shape of `schedule list --json`; `now` is microseconds, `width` the terminal's."""
    return table([_shown(row, now, width) for row in rows], COLUMNS, width=width)


def _shown(row: Mapping[str, Any], now: int, width: int | None) -> dict[str, Any]:
    return {
        "name": row["name"],
        "schedule": row["schedule"],
        "zone": row["tz"],
        "next": "paused" if row["paused_at"] else _ahead(row["next_at"], now, width),
        "last": _moment(row["last_slot"], now, width),
        "state": row["last_state"],
        "late": None if row["late"] is None else ago(row["late"] * SECOND),
        "paused": row["paused_by"],
    }


def _ahead(text: str | None, now: int, width: int | None) -> str | None:
    if text is None or width is None:
        return None if text is None else local_time(parse_time(text, 0))
    return f"in {about(parse_time(text, 0) - now)}"


def _moment(text: str | None, now: int, width: int | None) -> str | None:
    if text is None:
        return None
    moment = parse_time(text, 0)
    return local_time(moment) if width is None else f"{ago(now - moment)} ago"


def schedule_text(found: Mapping[str, Any]) -> Iterator[str]:
    """One schedule in the shape of `schedule show --json`, a line a field, and its last slots."""
    shown = [(label, value) for label, value in _fields(found) if value not in (None, False, "", {}, [])]
    width = max(len(label) for label, _ in shown)
    for label, value in shown:
        yield f"{label:<{width}}  {value}"
    if found["slots"]:
        yield "last slots"
    for slot in found["slots"]:
        yield f"  {_slot(slot)}"


def _fields(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "name", found["name"]
    yield "when", found["words"] if found["schedule"].startswith("every") else f"{found['schedule']}: {found['words']}"
    yield "next", None if found["paused_at"] else _local(found["next_at"])
    if found["paused_at"]:
        yield "paused", f"since {_local(found['paused_at'])} by {found['paused_by']}"
    if found["late"] is not None:
        yield "late", f"{ago(found['late'] * SECOND)}: {found['late_why']}"
    if found["waits_for"]:
        yield "waits", f"for {found['waits_for']}: slots that come before it ends are skipped"
    yield "overlap", found["overlap"]
    yield (
        "catch up",
        f"{found['catch_up']}, within {_span(found['catch_up_within'])}, late from {_span(found['grace'])} on",
    )
    yield "spread", f"{_span(found['offset'])} after each slot" if found["spread"] else None
    yield "until", _local(found["until"])
    yield "file", found["managed_by"]
    for name, value in found["job"].items():
        yield name, _written(name, value)


def _written(name: str, value: Any) -> Any:
    """A field of a job: objects and lists as words, seconds as a duration."""
    if isinstance(value, float):
        return _span(value) if name in IN_SECONDS else f"{value:g}"
    if isinstance(value, dict):
        return shlex.join(f"{key}={text}" for key, text in value.items())
    return shlex.join(value) if isinstance(value, list) else value


def _span(seconds: float) -> str:
    return format_duration(int(seconds * SECOND))


def _local(text: str | None) -> str | None:
    return None if text is None else local_time(parse_time(text, 0))


def _slot(slot: Mapping[str, Any]) -> str:
    when = _local(slot["slot"])
    if slot["became"] == "skipped":
        return f"{when}  {_skipped(slot['count'], slot['reason'], slot['by'], _local(slot['last']))}"
    by_hand = "by hand, " if slot["became"] == "manual" else ""
    late = f", {ago(int(slot['late']) * SECOND)} late" if slot["late"] >= 60 else ""
    return f"{when}  {by_hand}{slot['job']} ({slot['state']}){late}"


def _skipped(count: int, reason: str, by: str | None, last: str | None) -> str:
    until = f", up to {last}" if count > 1 else ""
    job = f" ({by})" if by else ""
    return f"{counted(count, 'slot')} skipped{until}: {REASONS.get(reason, reason)}{job}"


def schedule_event(event: e.Event) -> str:
    """An event of a schedule in words."""
    match event:
        case e.ScheduleSet(cron=cron, every=every, tz=tz, job=job):
            when = f"{cron} ({tz})" if cron else f"every {format_duration(every or 0)}"
            return f"set: {when} $ {job.command}"
        case e.ScheduleFired(slot=slot, job=job_id, late=late, manual=manual):
            by_hand = "by hand " if manual else ""
            delay = f", {ago(late)} late" if late >= 60 * SECOND and not manual else ""
            return f"added {by_hand}{job_id} for {local_time(slot)}{delay}"
        case e.ScheduleSkipped(first=first, last=last, count=count, reason=reason, by=by):
            return f"from {local_time(first)}: {_skipped(count, reason, by, local_time(last))}"
        case e.SchedulePaused():
            return "paused"
        case e.ScheduleResumed():
            return "resumed"
    return "removed"
