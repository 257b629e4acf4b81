"""The data of the pages of failures and of schedules."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from queuectl.application.failures import HOURS, Wanted, failures
from queuectl.application.job_page import job_page
from queuectl.application.queue import Queue
from queuectl.application.schedule_views import details
from queuectl.application.schedules import next_slots
from queuectl.domain.machine import State
from queuectl.timetable import UnknownZoneError
from queuectl.units import SECOND, ago, parse_time
from queuectl.web.changing import Done
from queuectl.web.charts import HOUR, Dot, sparkline, strip
from queuectl.web.job_list import JobWords

__all__ = ["failures_view", "schedules_view"]

MOST = 40
"""Groups, and schedules, that a page shows."""
SAMPLES = 3
MOST_RETRIED, RETRIED = 500, 10
"""Retried jobs whose states are counted, and those that are named."""
AGAIN = (State.DLQ, State.PROCESSING, State.PENDING, State.DONE, State.CANCELLED)
"""The states of retried jobs, in the order in which a page names them."""
BEFORE, AFTER = 18 * HOUR, 6 * HOUR
"""The time around now that the strip of a schedule shows."""


def failures_view(queue: Queue, done: Done | None) -> dict[str, Any]:
    """The dead jobs by signature, each group with its last hours and three of its jobs; and the jobs just retried."""
    groups = failures(queue, Wanted())
    return {
        "groups": [_group(queue, group) for group in groups[:MOST]],
        "more_groups": len(groups) - MOST,
        "hours": HOURS,
        "retried": _retried(queue, done.jobs) if done is not None and done.retried else None,
    }


def _retried(queue: Queue, ids: Sequence[str]) -> dict[str, Any]:
    """How the first of the jobs that were retried do: how many are in each state, and some rows, failed ones first."""
    rows = [row for job_id in ids[:MOST_RETRIED] if (row := queue.store.tables.job(job_id))]
    rows.sort(key=lambda row: AGAIN.index(row["state"]))
    counts = Counter(row["state"] for row in rows)
    return {
        "jobs": len(ids),
        "known": len(rows),
        "states": {state.value: counts[state] for state in AGAIN if counts[state]},
        "rows": rows[:RETRIED],
    }


def _group(queue: Queue, group: dict[str, Any]) -> dict[str, Any]:
    wanted = JobWords.of(f"sig:{group['signature']}", 0).wanted
    return {
        **group,
        "chart": sparkline(group["per_hour"]),
        "samples": job_page(queue, wanted, SAMPLES).rows,
    }


def schedules_view(queue: Queue, past: int | None) -> dict[str, Any]:
    """Every schedule with a strip of its slots; late ones come first."""
    found = [details(queue.store, schedule, live=past is None) for schedule in queue.store.schedules.all()]
    found.sort(key=lambda row: (row["late"] is None, row["next_at"] or "~", row["name"]))
    now = queue.store.log.wall()
    shown = found[:MOST]
    return {
        "schedules": [{**row, "strip": strip(_dots(queue, row, now), now - BEFORE, now + AFTER, now)} for row in shown],
        "more_schedules": len(found) - MOST,
    }


def _dots(queue: Queue, row: dict[str, Any], now: int) -> list[Dot]:
    """The slots that were decided on, and those to come."""
    dots = [_dot(slot) for slot in row["slots"]]
    schedule = queue.store.schedules.named(row["name"])
    if schedule is None or row["paused_at"] is not None:
        return dots
    offset = schedule.definition.offset
    try:
        for number, slot in enumerate(next_slots(schedule.definition, now - offset)):
            if slot + offset > now + AFTER or number >= 60:
                break
            dots.append(Dot(slot + offset, "next", "next"))
    except UnknownZoneError:
        pass
    return dots


def _dot(slot: dict[str, Any]) -> Dot:
    at = parse_time(slot["slot"], 0)
    if slot["became"] == "skipped":
        times = "" if slot["count"] == 1 else f" ({slot['count']} times)"
        return Dot(at, "skipped", f"skipped{times}: {slot['reason']}")
    late = "" if slot["late"] < 1 else f", {ago(int(slot['late'] * SECOND))} late"
    kind = "failed" if slot["state"] == State.DLQ else State.DONE if slot["state"] == State.DONE else "other"
    return Dot(at, kind, f"{slot['state']}{late}: {slot['job']}", slot["job"])
