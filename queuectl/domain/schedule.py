"""Schedules: which slots of a schedule make a job, which are skipped, and why.

A slot is a moment at which a job is to be added. A schedule is computed from the events of its stream. Every slot up to
`last_slot` has been decided on: it has made a job, or a note says why it was skipped.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from queuectl.domain import events as e

__all__ = [
    "CATCH_UPS",
    "MAX_NAME",
    "MOST_JOBS",
    "MOST_SLOTS",
    "OVERLAPS",
    "Obstacle",
    "Schedule",
    "View",
    "decide_due",
    "decide_end",
    "decide_resume",
    "evolve_schedule",
    "job_of",
]

OVERLAPS = ("skip", "queue", "allow")
CATCH_UPS = ("latest", "all", "none")
MAX_NAME = 100
"""Characters in a schedule's name: its jobs' ids are longer, and an id has at most 128."""
MOST_SLOTS = 20_000
"""Slots that are decided on together, so that the log's lock is held for less than a second."""
LEAST_LATE = 1_000_000
"""Microseconds: a schedule that is late by less is not late, because a worker is about to decide on it."""
MOST_JOBS = 100
"""Jobs that are added together."""


class Schedule(Struct, frozen=True):
    """A schedule's current state. Moments are microseconds since the epoch, UTC.

    `since` is when it was set: the slots after it count. `last_slot` is the last slot that was decided on, `next_slot`
    the one after it, None when there is none. `last_job` is the job that was added last, also by hand.
    """

    name: str
    version: int
    definition: e.ScheduleSet
    since: int
    last_slot: int | None = None
    next_slot: int | None = None
    last_job: str | None = None
    paused_at: int | None = None
    paused_by: str | None = None

    @property
    def anchor(self) -> int:
        """The moment after which no slot has been decided on."""
        return self.since if self.last_slot is None else self.last_slot

    @property
    def next_at(self) -> int | None:
        """When a worker has to decide on the next slot; None while the schedule is paused, and when there is none."""
        if self.paused_at is not None or self.next_slot is None:
            return None
        return self.next_slot + self.definition.offset

    def late_by(self, now: int) -> int | None:
        """How late it is at `now`; None while that is less than its grace."""
        late = None if self.next_at is None else now - self.next_at
        return late if late is not None and late >= max(self.definition.grace, LEAST_LATE) else None


class Obstacle(Struct, frozen=True):
    """Why a slot cannot make a job now, and the job that prevents it."""

    reason: str
    by: str


class View(Struct, frozen=True):
    """The answers that the rules need. `slots(after)` gives the schedule's slots after a moment, in order, endlessly.

    `live` is a job of the schedule that is pending or processing; `ended` is when the last one ended, None when that is
    not known. `obstacle(slot)` says why a slot cannot make a job. `stamp(slot)` is its part of a job's id.
    """

    now: int
    slots: Callable[[int], Iterator[int]]
    stamp: Callable[[int], str]
    live: str | None = None
    ended: int | None = None
    obstacle: Callable[[int], Obstacle | None] = lambda slot: None


def evolve_schedule(schedule: Schedule | None, record: e.RecordedEvent) -> Schedule | None:
    """The schedule after one more event of its stream; None when there is none (any more)."""
    event, version = record.event, record.version
    if isinstance(event, e.ScheduleSet):
        name = record.stream_id.partition(":")[2]
        plain = event if event.clock is None else replace(event, clock=None)
        last_job = schedule.last_job if schedule else None
        return Schedule(name, version, plain, record.clock, None, event.next, last_job)
    if schedule is None or isinstance(event, e.ScheduleRemoved):
        return None
    return replace(schedule, version=version, **_changed(record))


def _changed(record: e.RecordedEvent) -> dict[str, Any]:
    """The fields of a schedule that an event changes."""
    match record.event:
        case e.SchedulePaused():
            return {"paused_at": record.clock, "paused_by": record.actor}
        case e.ScheduleResumed(next=following):
            return {"paused_at": None, "paused_by": None, "next_slot": following}
        case e.ScheduleFired(manual=True, job=job):
            return {"last_job": job}
        case e.ScheduleFired(slot=slot, job=job, next=following):
            return {"last_slot": slot, "last_job": job, "next_slot": following}
        case e.ScheduleSkipped(last=slot, next=following):
            return {"last_slot": slot, "next_slot": following}
    return {}


def job_of(name: str, stamp: str) -> str:
    """The id of the job of a slot."""
    return f"{name}.{stamp}"


# ── the decision on slots that are due ──────────────────────────────────────────────────────────────────


def decide_due(schedule: Schedule, view: View) -> list[e.Event]:
    """The events that decide on the slots that are due at `view.now`, in their order; the rest stays for the next call.

    Nothing is decided while an earlier job is live and `overlap` is `skip`: its slots are skipped when it has ended, in
    one note.
    """
    definition = schedule.definition
    if schedule.paused_at is not None or (definition.overlap == "skip" and view.live is not None):
        return []
    slots = _slots(schedule, view)
    due, following = _due(slots, view.now - definition.offset, MOST_SLOTS)
    decided = list[_Decided]()
    for number, slot in enumerate(due):
        is_last = number == len(due) - 1 and len(due) < MOST_SLOTS
        fate = _fate(definition, view, slot, is_last)
        if fate is None and (obstacle := view.obstacle(slot)) is not None:
            fate = _Fate(obstacle.reason, obstacle.by)
        decided.append(_Decided(slot, fate))
        if fate is None and (definition.overlap == "skip" or _jobs(decided) == MOST_JOBS):
            break
    return list(_events(schedule, view, decided, [*due[len(decided) :], *following][:1]))


class _Fate(Struct, frozen=True):
    """Why a slot is skipped."""

    reason: str
    by: str | None = None


class _Decided(Struct, frozen=True):
    """A slot and why it is skipped; None: it makes a job."""

    slot: int
    skipped: _Fate | None


def _jobs(decided: list[_Decided]) -> int:
    return sum(each.skipped is None for each in decided)


def _slots(schedule: Schedule, view: View) -> Iterator[int]:
    """The slots that are not decided on, up to the schedule's end."""
    until = schedule.definition.until
    slots = view.slots(schedule.anchor)
    return slots if until is None else takewhile(lambda slot: slot <= until, slots)


def _due(slots: Iterator[int], now: int, most: int) -> tuple[list[int], list[int]]:
    """The first slots up to `now`, at most `most`, and the slot after them."""
    due = list[int]()
    for slot in slots:
        if slot > now or len(due) == most:
            return due, [slot]
        due.append(slot)
    return due, []


def _fate(definition: e.ScheduleSet, view: View, slot: int, is_last: bool) -> _Fate | None:
    """Why the rules skip a slot; None when they do not. A slot that was missed is late by `grace` or more."""
    moment, catch_up = slot + definition.offset, definition.catch_up
    if definition.overlap == "skip" and view.ended is not None and moment < view.ended:
        return _Fate("overlap")
    late = view.now - moment
    if late < definition.grace:
        return None
    if definition.until is not None and definition.until + definition.offset < view.now:
        return _Fate("expired")
    may_run = late <= definition.within and (catch_up == "all" or (catch_up == "latest" and is_last))
    return None if may_run else _Fate("late")


def _events(schedule: Schedule, view: View, decided: list[_Decided], following: list[int]) -> Iterator[e.Event]:
    """The events: one for each job, and one for each run of slots that were skipped for the same reason."""
    run: list[int] = []
    for number, each in enumerate(decided):
        after = decided[number + 1] if number + 1 < len(decided) else None
        next_slot = after.slot if after else next(iter(following), None)
        if each.skipped is None:
            late = view.now - each.slot - schedule.definition.offset
            yield e.ScheduleFired(each.slot, job_of(schedule.name, view.stamp(each.slot)), late, next=next_slot)
            continue
        run.append(each.slot)
        if after is None or after.skipped != each.skipped:
            by = each.skipped.by or (schedule.last_job if each.skipped.reason == "overlap" else None)
            yield e.ScheduleSkipped(run[0], run[-1], len(run), each.skipped.reason, by, next=next_slot)
            run = []


# ── pauses, and the end of a definition ─────────────────────────────────────────────────────────────────


def decide_resume(before: Sequence[int], during: Sequence[int], following: int | None) -> list[e.Event]:
    """The events that resume a paused schedule: slots before the pause are skipped as late.

    Both are slots that are not decided on; `following` is the slot after them.
    """
    return [*_skipped([("late", before), ("paused", during)], following), e.ScheduleResumed(next=following)]


def decide_end(schedule: Schedule, passed: Sequence[int], following: int | None) -> list[e.Event]:
    """The notes on the slots that no worker has decided on when the schedule is changed or removed."""
    return _skipped([("changed" if schedule.paused_at is None else "paused", passed)], following)


def _skipped(runs: Iterable[tuple[str, Sequence[int]]], following: int | None) -> list[e.Event]:
    """A note on each run of slots, with the reason; `following` is the slot after all of them."""
    notes = list[e.Event]()
    for reason, slots in reversed([*runs]):
        if slots:
            notes.append(e.ScheduleSkipped(slots[0], slots[-1], len(slots), reason, next=following))
            following = slots[0]
    return notes[::-1]
