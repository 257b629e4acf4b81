"""The audit's record of each schedule: recalculates its slots, and checks that each was decided on once and in order.

Like the rest of the audit it shares no rule with `domain/`. cronsim and this machine's zone files calculate the slots.
"""

from collections.abc import Iterator
from itertools import islice, takewhile
from typing import NamedTuple

from msgspec import Struct

from queuectl.domain import events as e
from queuectl.timetable import UnknownZoneError, cron_moments, interval_moments, zone
from queuectl.units import SECOND, format_time

__all__ = ["SlotAudit", "Verdict"]

TOLERANCE = SECOND
"""Microseconds: a slot may become due between the moment of the decision and the moment that was recorded."""


class Verdict(NamedTuple):
    """Whether a rule holds for an event, and if not, how it was broken."""

    holds: bool
    what: str = ""


class _Schedule(Struct):
    """A schedule: `anchor` is the last slot that was decided on, or when it was set."""

    definition: e.ScheduleSet
    anchor: int
    paused: bool = False

    def slots(self) -> Iterator[int]:
        """The slots after the anchor. Raises UnknownZoneError."""
        definition = self.definition
        if definition.every is not None:
            slots = interval_moments(definition.every, definition.start or 0, self.anchor)
        else:
            slots = cron_moments(definition.cron or "", zone(definition.tz), self.anchor)
        until = definition.until
        return slots if until is None else takewhile(lambda slot: slot <= until, slots)


class SlotAudit:
    """Pass every job of a schedule to `enqueued` and every note of one to `note`, in the order of the log."""

    def __init__(self) -> None:
        self._schedules: dict[str, _Schedule] = {}
        self._jobs: dict[str, dict[str, int]] = {}

    def enqueued(self, job_id: str, origin: e.Origin | None) -> None:
        """Remember a job of a schedule until a note names it."""
        if origin is not None and origin.kind == "schedule" and origin.slot is not None:
            self._jobs.setdefault(origin.name, {})[job_id] = origin.slot

    def note(self, record: e.RecordedEvent) -> Verdict:
        """Check a note of a schedule."""
        name = record.stream_id.partition(":")[2]
        try:
            return self._note(name, record)
        except (UnknownZoneError, ValueError) as error:
            return Verdict(False, f"its slots cannot be recalculated here: {error}")

    def _note(self, name: str, record: e.RecordedEvent) -> Verdict:
        event, schedule = record.event, self._schedules.get(name)
        if isinstance(event, e.ScheduleSet):
            self._schedules[name] = _Schedule(event, record.clock)
            return Verdict(True) if schedule is None else _nothing_due(schedule, record.clock)
        if schedule is None:
            return Verdict(False, f"{record.type} of a schedule that is not there")
        match event:
            case e.ScheduleFired(manual=True):
                return self._names_its_job(name, event)
            case e.ScheduleFired():
                return self._fired(name, schedule, event, record.clock)
            case e.ScheduleSkipped():
                return self._skipped(name, schedule, event, record.clock)
        return self._switched(name, schedule, record)

    def _switched(self, name: str, schedule: _Schedule, record: e.RecordedEvent) -> Verdict:
        """Check a pause, a resumption, or the end."""
        if isinstance(record.event, e.SchedulePaused):
            schedule.paused = True
            return Verdict(True)
        if isinstance(record.event, e.ScheduleRemoved):
            del self._schedules[name]
        schedule.paused = False
        return _nothing_due(schedule, record.clock)

    def _fired(self, name: str, schedule: _Schedule, event: e.ScheduleFired, now: int) -> Verdict:
        expected, schedule.anchor = next(schedule.slots(), None), max(event.slot, schedule.anchor)
        if schedule.paused:
            return Verdict(False, "it was paused")
        if event.slot != expected:
            return Verdict(False, f"slot {_time(event.slot)} made a job, the next one was {_time(expected)}")
        if event.slot + schedule.definition.offset > now:
            return Verdict(False, f"slot {_time(event.slot)} made a job before its time")
        return self._names_its_job(name, event)

    def _names_its_job(self, name: str, event: e.ScheduleFired) -> Verdict:
        """Whether the job was added before the note, and every other added job is named by a note."""
        jobs = self._jobs.get(name, {})
        slot = jobs.pop(event.job, None)
        unnamed = [job for job, other in jobs.items() if other < event.slot and not event.manual]
        if slot is None:
            return Verdict(False, f"its job {event.job} was not added before it")
        if unnamed:
            return Verdict(False, f"no note names the job {unnamed[0]}")
        return Verdict(slot == event.slot, f"its job {event.job} is that of slot {_time(slot)}")

    def _skipped(self, name: str, schedule: _Schedule, event: e.ScheduleSkipped, now: int) -> Verdict:
        slots = schedule.slots()
        schedule.anchor = max(event.last, schedule.anchor)
        if event.last + schedule.definition.offset > now:  # also bounds the number of slots that are recalculated
            return Verdict(False, f"slot {_time(event.last)} was skipped before its time")
        first, last, number = _extent(takewhile(lambda slot: slot <= event.last, islice(slots, event.count)))
        if not number or (first, last, number) != (event.first, event.last, event.count):
            recalculated = f"{number} from {_time(first)} to {_time(last)}" if number else "none"
            said = f"{event.count} slots from {_time(event.first)} to {_time(event.last)} were skipped"
            return Verdict(False, f"{said}, recalculated: {recalculated}")
        if event.by in self._jobs.get(name, {}) and event.reason == "taken":
            return Verdict(False, f"no note names the job {event.by}")
        return Verdict(True)


def _extent(slots: Iterator[int]) -> tuple[int | None, int | None, int]:
    """The first and the last slot, and how many there are: a year of seconds does not fit into the memory."""
    first = last = next(slots, None)
    number = int(first is not None)
    for slot in slots:
        last, number = slot, number + 1
    return first, last, number


def _nothing_due(schedule: _Schedule, now: int) -> Verdict:
    """Whether every slot before the schedule was changed, resumed or removed was decided on."""
    slot = next(schedule.slots(), None)
    due = slot is not None and slot + schedule.definition.offset < now - TOLERANCE
    return Verdict(not due, f"slot {_time(slot)} was not decided on before")


def _time(slot: int | None) -> str:
    return "none" if slot is None else format_time(slot)
