"""The data of the pages: the header, the overview, the workers. They are plain values for the templates."""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct, field

from queuectl.application.activity import HOUR, Activity, Minute, QueueActivity, Span, slices
from queuectl.application.follow import LogReader
from queuectl.application.queue import Queue
from queuectl.application.schedule_views import late_schedules
from queuectl.application.workers import workers
from queuectl.domain.dependencies import held_because
from queuectl.domain.events import RecordedEvent
from queuectl.domain.machine import State
from queuectl.domain.names import PAUSE_ALL
from queuectl.errors import command_line, runnable
from queuectl.render.narrative import summary
from queuectl.units import SECOND, counted, format_time
from queuectl.web.charts import RUNNING, gantt, minutes_chart
from queuectl.web.feed import ALL_TYPES
from queuectl.web.site import Site

__all__ = ["STATE_HINTS", "Moment", "Need", "header", "just_now", "overview_view", "pauses_of", "workers_view"]

MOST_RUNNING, RECENT = 20, 10
"""Running jobs and events that the overview shows."""
MOST_QUEUES = 50
STATE_HINTS = (
    *(f"state:{state}" for state in State if state is not State.PURGED),
    *("state:failed", "state:retrying", "state:held"),
)
"""Words of the filter of jobs, by state."""


class Moment(Struct, frozen=True):
    """The moment that is shown: a position of the past (None: now), and its time in microseconds."""

    position: int | None
    time: int
    head: int


class Need(Struct, frozen=True):
    """Something that a person should look at, with where to look and the command that helps."""

    text: str
    link: str
    command: str = ""


def header(site: Site, queue: Queue, past: int | None, tab: str) -> dict[str, Any]:
    """The data at the top of every page."""
    head, counts = queue.store.log.head(), counts_of(queue)
    return {
        "name": site.name,
        "rights": site.rights,
        "tab": tab,
        "dead": sum(row[State.DLQ] for row in counts.values()),
        "digest": head.digest.hex()[:8],
        "verified": site.verification.look() if past is None and site.verification is not None else None,
        "moment": Moment(past, queue.store.log.wall(), head.position),
        "present": site.queue.store.log.head().position,
        "now": site.queue.store.log.wall(),
        "pauses": pauses_of(queue),
        "counts": counts,
        "hints": [*STATE_HINTS, *(f"queue:{name}" for name in sorted(counts)[:MOST_QUEUES])],
    }


def counts_of(queue: Queue) -> dict[str, dict[str, int]]:
    """The number of jobs by queue and state."""
    found: dict[str, dict[str, int]] = {}
    for count in queue.store.tables.counts():
        found.setdefault(count.queue, dict.fromkeys(State, 0))[count.state] = count.jobs
    return found


def pauses_of(queue: Queue) -> list[dict[str, Any]]:
    """The paused queues: `queue` (`*` for all), `since` in microseconds, `by`."""
    return [
        {"queue": name, "since": row["paused_at"] * SECOND, "by": row["paused_by"]}
        for name, row in queue.store.tables.pauses().items()
    ]


# ── the overview ────────────────────────────────────────────────────────────────────────────────────


class QueueLine(Struct):
    """One queue in the overview. Durations are seconds."""

    name: str
    states: dict[str, int]
    hour: QueueActivity
    oldest: float | None
    paused: bool

    @property
    def median(self) -> float | None:
        """The median of its runs."""
        return share_below(self.hour.took, 0.5)

    @property
    def slowest(self) -> float | None:
        """The time within which 95 % of its runs ended."""
        return share_below(self.hour.took, 0.95)


def share_below(values: Sequence[float], share: float) -> float | None:
    """The value below which this share of the values is."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None


class Rates(Struct):
    """How the queue moves: ended jobs a second in the last five minutes, and waits in seconds."""

    done: float = 0
    failed: float = 0
    waits: float | None = None
    longest_waits: float | None = None


Zoom = tuple[int, int]
"""A part of the time that the chart shows: from a moment to before another (microseconds)."""


def overview_view(
    site: Site, queue: Queue, past: int | None, counts: dict[str, dict[str, int]], zoom: Zoom | None = None
) -> dict[str, Any]:
    """The data of the overview."""
    now, activity = queue.store.log.wall(), site.activity(queue, past)
    totals = {state: sum(row[state] for row in counts.values()) for state in State}
    oldest = queue.store.tables.oldest_due_by_queue() if past is None or totals[State.PENDING] <= 2000 else {}
    minutes = activity.minutes(now) if zoom is None else slices(queue.store, *zoom)
    ends = partial(_jobs_that_ended, past, minutes[1].start - minutes[0].start)
    return {
        "totals": totals,
        "rates": _rates(activity, now),
        "chart": minutes_chart(minutes, ends),
        "minutes": minutes,
        "jobs_of": ends,
        "zoom": zoom,
        "shown": (minutes[0].start // SECOND, (2 * minutes[-1].start - minutes[-2].start) // SECOND),
        "since": activity.since if activity.since > now - HOUR + 60 * SECOND else None,
        "queues": _queue_lines(queue, activity, counts, oldest, now),
        "more_queues": max(0, len(counts) - MOST_QUEUES),
        "running": running_of(queue, activity, now),
        "needs": [*_damage(site), *_needs(queue, totals, counts)] if past is None else _past_needs(totals),
        "just_now": just_now(queue, RECENT),
    }


def _jobs_that_ended(past: int | None, length: int, minute: Minute) -> str:
    """The page of the jobs whose runs ended in a minute, or in another part of the time (its length in us)."""
    words = f"ended:{format_time(minute.start)}..{format_time(minute.start + length)}"
    return f"/jobs?{urlencode({'q': words, **({} if past is None else {'as_of': past})})}"


def _rates(activity: Activity, now: int) -> Rates:
    last = activity.minutes(now)[-5:]
    queues = [each for minute in last for each in list(minute.queues.values())]
    seconds = 240 + now // SECOND % 60
    waited = [value for each in queues for value in each.waited]
    return Rates(
        sum(each.done for each in queues) / seconds,
        sum(each.failed for each in queues) / seconds,
        share_below(waited, 0.5),
        share_below(waited, 0.95),
    )


def _queue_lines(
    queue: Queue, activity: Activity, counts: dict[str, dict[str, int]], oldest: dict[str, int], now: int
) -> list[QueueLine]:
    paused = queue.store.tables.pauses()
    busiest = sorted(counts, key=lambda name: (-counts[name][State.PROCESSING], -counts[name][State.PENDING], name))
    return [
        QueueLine(
            name,
            counts[name],
            activity.queue(name, now),
            (now - oldest[name]) / SECOND if oldest.get(name, now) < now else None,
            name in paused,
        )
        for name in busiest[:MOST_QUEUES]
    ]


def running_of(queue: Queue, activity: Activity, now: int) -> list[dict[str, Any]]:
    """The jobs that run, the longest first, with the time that their command usually takes (seconds)."""
    rows = [
        row for job_id, _ in islice(queue.store.tables.processing(), 500) if (row := queue.store.tables.job(job_id))
    ]
    rows.sort(key=lambda row: row["locked_at"] or 0)
    return [
        {
            **row,
            "elapsed": max(0, now / SECOND - (row["locked_at"] or 0)),
            "usual": activity.usual(row["command"]),
        }
        for row in rows[:MOST_RUNNING]
    ]


def _damage(site: Site) -> list[Need]:
    """Damage that was found when the queue was last verified."""
    found = site.verification.last if site.verification is not None else None
    if found is None or not found.problems:
        return []
    return [Need(f"verify found {counted(found.problems, 'problem')}", "/", command_line("verify"))]


def _needs(queue: Queue, totals: dict[State, int], counts: dict[str, dict[str, int]]) -> list[Need]:
    rows = workers(queue)
    lost = [row["name"] for row in rows if row["state"] == "lost"]
    found = _past_needs(totals)
    if lost:
        text = f"{counted(len(lost), 'worker')} lost: {', '.join(lost[:3])}"
        found.append(Need(text, "/workers", command_line("doctor")))
    pending = [name for name, row in counts.items() if row[State.PENDING] and name not in queue.store.tables.pauses()]
    living = [row for row in queue.store.workers.rows() if row.name not in lost]
    if PAUSE_ALL not in queue.store.tables.pauses() and (unserved := queue.unserved(pending, living)):
        text = f"no worker serves {', '.join(unserved[:3])}{' …' if unserved[3:] else ''}"
        found.append(Need(text, "/workers", command_line("run")))
    if held := sum(each.held for each in queue.store.waits.by_queue()):
        text = f"{counted(held, 'job')} held: {held_because(held)}"
        found.append(Need(text, "/jobs?q=state:held", command_line("list", "--state", "held")))
    found += [Need(str(late), "/schedules", runnable(late.remedy or "")) for late in late_schedules(queue.store)[:5]]
    if queue.store.log.behind_for() is not None:
        found.append(Need("the clock is behind the log", "/workers", command_line("doctor")))
    return found


def _past_needs(totals: dict[State, int]) -> list[Need]:
    dead = totals[State.DLQ]
    if not dead:
        return []
    text = f"{counted(dead, 'job')} failed for good, in the dead-letter queue"
    return [Need(text, "/failures", command_line("failures"))]


def just_now(queue: Queue, number: int) -> list[dict[str, Any]]:
    """The last events of the log in words, the newest first."""
    head = queue.store.log.head().position
    found = list(LogReader(queue.store, max(queue.store.log.base.position, head - number), None, ALL_TYPES).read(head))
    return [_told(record) for record in reversed(found)]


def _told(record: Any) -> dict[str, Any]:
    if isinstance(record, RecordedEvent):
        what, at, by = summary(record), record.recorded_at, record.actor
    else:
        what, at, by = record.why, None, ""
    return {"position": record.position, "stream": record.stream_id, "what": what, "at": at, "by": by}


# ── the workers ─────────────────────────────────────────────────────────────────────────────────────


class WorkerLine(Struct):
    """A worker with the jobs in its slots."""

    row: dict[str, Any]
    jobs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def free(self) -> int:
        """Slots without a job."""
        return max(0, int(self.row["slots"]) - len(self.jobs))


def workers_view(site: Site, queue: Queue, past: int | None) -> dict[str, Any]:
    """The data of the page of workers. Heartbeats are not in the log, so for the past there are only the runs."""
    now, activity = queue.store.log.wall(), site.activity(queue, past)
    lines = {row["name"]: WorkerLine(row) for row in (workers(queue) if past is None else [])}
    spans = [span for span in list(activity.spans) if span.end > now - 2 * HOUR]
    for row in running_of(queue, activity, now):
        began = (row["locked_at"] or 0) * SECOND
        spans.append(Span(row["locked_by"] or "", row["id"], began, now, RUNNING))
        if row["locked_by"] in lines:
            lines[row["locked_by"]].jobs.append(row)
    start = min([span.start for span in spans] + [now - HOUR // 6])
    names = sorted({span.worker for span in spans} | set(lines))[:40]
    return {
        "lines": list(lines.values()),
        "spans": spans[-50:],
        "gantt": gantt(spans, names, max(start, now - 2 * HOUR), now) if names else "",
        "live": past is None,
    }
