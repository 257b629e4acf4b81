"""Schedules as people and programs see them: when each runs next, the outcome of its last slots, and how late it is."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from msgspec import Struct

from queuectl.application.job_spec import as_fields
from queuectl.application.liveness import is_alive
from queuectl.application.schedules import next_slots
from queuectl.domain import events as e
from queuectl.domain.machine import State
from queuectl.domain.names import schedule_stream
from queuectl.domain.schedule import Schedule
from queuectl.errors import command_line
from queuectl.store.protocol import Store
from queuectl.store.stream_fold import Examined
from queuectl.timetable import UnknownZoneError, in_words, local_iso, zone
from queuectl.units import SECOND, ago, format_duration, format_time

__all__ = ["LateSchedule", "details", "history", "late_schedules", "next_times", "row", "rows", "words"]

SHOWN_SLOTS = 10


class LateSchedule(Struct, frozen=True):
    """A schedule with a slot that is due for longer than its grace: by how much (microseconds), and why."""

    name: str
    late: int
    why: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"schedule {self.name} is late by {ago(self.late)}: {self.why}"


def words(definition: e.ScheduleSet) -> str:
    """When a schedule runs, in words."""
    if definition.every is not None:
        return f"Every {format_duration(definition.every)}"
    return f"{in_words(definition.cron or '')} ({definition.tz})"


def _expression(definition: e.ScheduleSet) -> str:
    return definition.cron or f"every {format_duration(definition.every or 0)}"


def next_times(definition: e.ScheduleSet, after: int, count: int) -> list[str]:
    """The next times at which it adds a job, with the offset of its zone. Raises UnknownZoneError."""
    where = zone(definition.tz)
    slots = islice(next_slots(definition, after - definition.offset), count)
    return [local_iso(slot + definition.offset, where) for slot in slots]


# ── lateness ────────────────────────────────────────────────────────────────────────────────────────────


def late_schedules(store: Store) -> list[LateSchedule]:
    """The schedules that are late now."""
    now = store.log.wall()
    found = []
    for name, _ in store.schedules.due(now):
        schedule = store.schedules.named(name)
        if schedule is not None and (late := lateness(store, schedule, now)) is not None:
            found.append(late)
    return found


def lateness(store: Store, schedule: Schedule, now: int) -> LateSchedule | None:
    """How late a schedule is. None when it is not late, or when its earlier job is live and the rule is to skip."""
    late, name = schedule.late_by(now), schedule.name
    if late is None or waits_for(store, schedule) is not None:
        return None
    try:
        zone(schedule.definition.tz)
    except UnknownZoneError as error:
        remedy = "install the time zone data of your system (package tzdata)"
        return LateSchedule(name, late, str(error), remedy)
    if not any(row.slots and is_alive(store, row) is not False for row in store.workers.rows()):
        return LateSchedule(name, late, "no worker runs", command_line("run"))
    return LateSchedule(name, late, "the workers have not come to it yet")


def waits_for(store: Store, schedule: Schedule) -> str | None:
    """The earlier job that is live, if slots are skipped because of it."""
    return store.schedules.live_job(schedule.name) if schedule.definition.overlap == "skip" else None


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def rows(store: Store, *, live: bool) -> list[dict[str, Any]]:
    """All schedules in the shape of `schedule list --json`. `live`: the store is the present."""
    return [row(store, schedule, live=live) for schedule in store.schedules.all()]


def row(store: Store, schedule: Schedule, *, live: bool) -> dict[str, Any]:
    """One schedule. Durations are seconds, times ISO 8601."""
    definition, now = schedule.definition, store.log.wall()
    late = lateness(store, schedule, now) if live else None
    last = None if schedule.last_job is None else store.tables.job(schedule.last_job)
    state = None if schedule.last_job is None else State.PURGED.value if last is None else last["state"]
    return {
        "name": schedule.name,
        "schedule": _expression(definition),
        "tz": definition.tz,
        "command": definition.job.command,
        "next_at": _next_at(schedule, now),
        "last_slot": _time(schedule.last_slot),
        "last_job": schedule.last_job,
        "last_state": state,
        "late": None if late is None else late.late // SECOND,
        "late_why": None if late is None else late.why,
        "paused_at": _time(schedule.paused_at),
        "paused_by": schedule.paused_by,
        "managed_by": definition.managed_by,
    }


def _next_at(schedule: Schedule, now: int) -> str | None:
    """When it adds its next job. While its earlier job is live, that is the slot after the one that is due."""
    due = schedule.next_at
    if due is None or due > now:
        return _time(due)
    try:
        following = next(next_slots(schedule.definition, now - schedule.definition.offset), None)
    except UnknownZoneError:
        return _time(due)
    return None if following is None else _time(following + schedule.definition.offset)


def _time(moment: int | None) -> str | None:
    return None if moment is None else format_time(moment)


def details(store: Store, schedule: Schedule, *, live: bool) -> dict[str, Any]:
    """One schedule with its rules, the job as it is added, and its last ten slots, the newest first."""
    definition = schedule.definition
    job = {name: value for name, value in as_fields(definition.job).items() if value not in (None, [], {}, "")}
    waiting = waits_for(store, schedule) if live else None
    return {
        **row(store, schedule, live=live),
        "words": words(definition),
        "start": _time(definition.start),
        "until": _time(definition.until),
        "overlap": definition.overlap,
        "catch_up": definition.catch_up,
        "catch_up_within": definition.within / SECOND,
        "grace": definition.grace / SECOND,
        "spread": definition.spread / SECOND,
        "offset": definition.offset / SECOND,
        "waits_for": waiting,
        "job": {name: value for name, value in job.items() if name not in ("delay", "id")},
        "slots": list(islice(_slots(store, schedule), SHOWN_SLOTS)),
    }


def _slots(store: Store, schedule: Schedule) -> Iterator[dict[str, Any]]:
    """The last slots and their outcomes."""
    for record in store.log.newest(schedule_stream(schedule.name), 4 * SHOWN_SLOTS):
        match getattr(record, "event", None):
            case e.ScheduleFired() as fired:
                job = store.tables.job(fired.job)
                state = State.PURGED.value if job is None else job["state"]
                kind = "manual" if fired.manual else "fired"
                yield {
                    "slot": format_time(fired.slot),
                    "became": kind,
                    "job": fired.job,
                    "state": state,
                    "late": fired.late / SECOND,
                }
            case e.ScheduleSkipped() as skipped:
                yield {
                    "slot": format_time(skipped.first),
                    "last": format_time(skipped.last),
                    "became": "skipped",
                    "count": skipped.count,
                    "reason": skipped.reason,
                    "by": skipped.by,
                }


def history(store: Store, name: str) -> list[Examined]:
    """Every event of a schedule, or of one that was removed."""
    return list(store.log.examined(stream_id=schedule_stream(name)))
