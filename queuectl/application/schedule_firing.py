"""Decides on the due slots of a schedule, and adds their jobs and the notes on them together.

Whoever decides holds the log's lock, so that a slot is decided on once. The jobs are appended before the note that
names them, in the same append.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from itertools import takewhile

from msgspec.structs import replace

from queuectl.domain import commands as c
from queuectl.domain import events as e
from queuectl.domain.machine import LIVE
from queuectl.domain.names import schedule_stream
from queuectl.domain.schedule import Obstacle, Schedule, View, decide_due, job_of
from queuectl.store.errors import DamagedEventError
from queuectl.store.protocol import Store
from queuectl.store.rows import Change
from queuectl.timetable import cron_moments, interval_moments, local_iso, stamp, zone

__all__ = ["append_decision", "fire", "manual_change", "passed_slots", "slots_of", "spec_of", "view_of"]


def slots_of(definition: e.ScheduleSet) -> Callable[[int], Iterator[int]]:
    """A function that gives the slots after a moment. Raises UnknownZoneError."""
    if definition.every is not None:
        every, start = definition.every, definition.start or 0
        return lambda after: interval_moments(every, start, after)
    where = zone(definition.tz)
    return lambda after: cron_moments(definition.cron or "", where, after)


def passed_slots(schedule: Schedule, now: int, known: Sequence[int] = ()) -> Sequence[int]:
    """All slots up to `now` that are not decided on. `known`: those up to an earlier moment, which are not asked again.

    Raises UnknownZoneError. A cron expression takes some microseconds for each slot, an interval takes none.
    """
    definition = schedule.definition
    last = min(now - definition.offset, now if definition.until is None else definition.until)
    slots = slots_of(definition)
    if definition.every is not None:
        return range(next(slots(schedule.anchor)), last + 1, definition.every)
    passed = array("q", known)
    passed.extend(takewhile(lambda slot: slot <= last, slots(passed[-1] if passed else schedule.anchor)))
    return passed[: bisect_right(passed, last)]


def view_of(store: Store, schedule: Schedule, now: int) -> View:
    """The input of the rules at `now` (microseconds, the wall clock). Raises UnknownZoneError."""
    definition = schedule.definition
    live = store.schedules.live_job(schedule.name) if definition.overlap == "skip" else None
    return View(
        now=now,
        slots=slots_of(definition),
        stamp=stamp,
        live=live,
        ended=_ended(store, schedule) if definition.overlap == "skip" and live is None else None,
        obstacle=_obstacles(store, schedule),
    )


def _ended(store: Store, schedule: Schedule) -> int | None:
    """When the last job ended, on the log's clock; None when that is not known, or when that clock is ahead."""
    if schedule.last_job is None or store.log.behind_for() is not None:
        return None
    try:
        job = store.log.load(schedule.last_job)
    except DamagedEventError:
        return None
    return None if job is None else job.finished_at


def _obstacles(store: Store, schedule: Schedule) -> Callable[[int], Obstacle | None]:
    """Why a slot cannot make its job: a job has its id, or its unique key, perhaps one of an earlier slot."""
    key = schedule.definition.job.unique
    holders = [] if key is None else [holder for holder in [store.tables.holder(key)] if holder]

    def obstacle(slot: int) -> Obstacle | None:
        job_id = job_of(schedule.name, stamp(slot))
        if store.log.version(job_id):
            return Obstacle("taken", job_id)
        if holders:
            return Obstacle("overlap", holders[0])
        if key is not None:
            holders.append(job_id)
        return None

    return obstacle


def fire(store: Store, schedule: Schedule, now: int, actor: str) -> Sequence[e.Event]:
    """Decide on the due slots, append the jobs and the notes, and return the notes. Raises UnknownZoneError."""
    events = decide_due(schedule, view_of(store, schedule, now))
    append_decision(store, schedule, events, actor)
    return events


def append_decision(store: Store, schedule: Schedule, events: Sequence[e.Event], actor: str) -> None:
    """Append the jobs that the notes name, and the notes."""
    jobs = list(_jobs(store, schedule, [event for event in events if isinstance(event, e.ScheduleFired)]))
    store.writer.append([*jobs, Change(schedule_stream(schedule.name), schedule.version, events)], actor)


def _jobs(store: Store, schedule: Schedule, fired: Sequence[e.ScheduleFired]) -> Iterator[Change]:
    """The jobs. If they are to run one by one, each waits until the one before it has ended."""
    definition, where = schedule.definition, zone(schedule.definition.tz)
    before = _last_live(store, schedule) if fired and definition.overlap == "queue" else None
    for event in fired:
        spec = spec_of(schedule.name, definition.job, event.slot, where)
        if before is not None:
            spec = replace(spec, after=(*spec.after, e.After(before, "end")))
        yield _enqueued(event.job, spec)
        before = event.job if definition.overlap == "queue" else None


def _last_live(store: Store, schedule: Schedule) -> str | None:
    """The last job of a schedule if it is live, else any other of its jobs that is."""
    last = None if schedule.last_job is None else store.tables.job(schedule.last_job)
    if last is not None and last["state"] in LIVE:
        return schedule.last_job
    return store.schedules.live_job(schedule.name)


def _enqueued(job_id: str, spec: e.Enqueued) -> Change:
    return Change(job_id, 0, c.decide(c.Enqueue(job_id, spec), None, 0))


def spec_of(name: str, job: e.Enqueued, slot: int, where: tzinfo) -> e.Enqueued:
    """The job of a slot: it knows its schedule, and the time that it was scheduled for, in the schedule's zone."""
    own = {"QUEUECTL_SCHEDULE": name, "QUEUECTL_SCHEDULED_FOR": local_iso(slot, where)}
    return replace(job, env={**job.env, **own}, origin=e.Origin("schedule", name, slot=slot))


def manual_change(store: Store, schedule: Schedule, slots: Sequence[int], prefix: str, now: int) -> list[Change]:
    """The changes that add jobs outside the schedule's slots, each at a moment, with ids that begin with `prefix`."""
    definition = schedule.definition
    where = zone(definition.tz)
    jobs, notes = list[Change](), list[e.Event]()
    taken = set[str]()
    for slot in slots:
        job_id = _free_id(store, f"{schedule.name}.{prefix}{stamp(slot)}", taken)
        taken.add(job_id)
        jobs.append(_enqueued(job_id, spec_of(schedule.name, definition.job, slot, where)))
        notes.append(e.ScheduleFired(slot=slot, job=job_id, late=max(0, now - slot), manual=True))
    return [*jobs, Change(schedule_stream(schedule.name), schedule.version, notes)]


def _free_id(store: Store, wanted: str, taken: set[str]) -> str:
    """The id, or the id with a number when a job has it already."""
    job_id, number = wanted, 1
    while job_id in taken or store.log.version(job_id):
        number += 1
        job_id = f"{wanted}-{number}"
    return job_id
