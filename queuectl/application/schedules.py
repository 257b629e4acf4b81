"""Adds, changes, pauses, resumes and removes schedules, and runs their jobs outside their slots.

Each change is one transaction. Before a schedule is changed, slots that are due and not yet decided on are noted, so
that every slot has an answer.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile

from msgspec import Struct
from msgspec.structs import replace

from queuectl.application.queue import Queue
from queuectl.application.schedule_firing import fire, manual_change, passed_slots, slots_of
from queuectl.domain import events as e
from queuectl.domain.names import schedule_stream
from queuectl.domain.schedule import Schedule, decide_end, decide_resume, job_of
from queuectl.errors import NoSuchJobError, RefusedError, UsageError, command_line
from queuectl.store.rows import Change
from queuectl.timetable import UnknownZoneError, stamp

__all__ = ["MOST_BACKFILLED", "Put", "Schedules", "definition_differs", "next_slots"]

MOST_BACKFILLED = 10_000
"""Jobs that one `backfill` adds."""


class Put(Struct, frozen=True):
    """A schedule to add, or a new definition for one. `paused`: the schedule begins, or stays, paused."""

    name: str
    definition: e.ScheduleSet
    paused: bool = False


_Counted = dict[tuple[str, int], Sequence[int]]
"""By name and version of a schedule: its slots that have passed."""


class Schedules:
    """The schedules of a queue. Changes are recorded in the name of the queue's actor."""

    def __init__(self, queue: Queue) -> None:
        self._queue, self._store = queue, queue.store

    def named(self, name: str) -> Schedule:
        """A schedule. Raises NoSuchJobError."""
        found = self._store.schedules.named(name)
        if found is None:
            raise NoSuchJobError(f"no such schedule: {name} (`{command_line('schedule', 'list')}` shows them)")
        return found

    # ── adding, changing and removing ───────────────────────────────────────────────────────────────

    def add(self, put: Put, *, change: bool = False) -> Schedule:
        """Add a schedule; with `change` an existing one of that name is changed. Raises RefusedError."""
        counted = self._count([put.name] if change else [])
        with self._store.writer.transaction():
            there = self._store.schedules.named(put.name)
            if there is not None and not change:
                raise RefusedError(f"there is a schedule {put.name} already: add --replace to change it")
            self._append(put.name, self._put(put, there, counted), there)
        return self.named(put.name)

    def apply(self, puts: Sequence[Put], removed: Sequence[str] = ()) -> None:
        """Add, change and remove schedules, all or none."""
        counted = self._count([*(put.name for put in puts), *removed])
        with self._store.writer.transaction():
            for put in puts:
                there = self._store.schedules.named(put.name)
                self._append(put.name, self._put(put, there, counted), there)
            for name in removed:
                self._remove(name, counted)

    def remove(self, names: Sequence[str]) -> None:
        """Remove schedules, all or none. Their jobs stay."""
        self.apply([], names)

    def _put(self, put: Put, there: Schedule | None, counted: _Counted) -> list[e.Event]:
        now = self._store.log.wall()
        first = next(_within(put.definition, slots_of(put.definition)(now)), None)
        notes = [] if there is None else self._ending(there, now, counted)
        paused = [e.SchedulePaused()] if put.paused else []
        return [*notes, replace(put.definition, next=first), *paused]

    def _remove(self, name: str, counted: _Counted) -> None:
        there = self.named(name)
        self._append(name, [*self._ending(there, self._store.log.wall(), counted), e.ScheduleRemoved()], there)

    def _ending(self, there: Schedule, now: int, counted: _Counted) -> list[e.Event]:
        """The notes on slots that are due, if this machine knows the zone."""
        try:
            return decide_end(there, *_passed(there, now, counted))
        except UnknownZoneError:
            return []

    def _count(self, names: Iterable[str]) -> _Counted:
        """The slots that have passed, counted before the log's lock is taken: in a year there are half a million."""
        counted, now = _Counted(), self._store.log.wall()
        for schedule in filter(None, map(self._store.schedules.named, names)):
            with suppress(UnknownZoneError):
                counted[schedule.name, schedule.version] = passed_slots(schedule, now)
        return counted

    def _append(self, name: str, events: Sequence[e.Event], there: Schedule | None) -> None:
        stream = schedule_stream(name)
        version = self._store.log.version(stream) if there is None else there.version
        self._store.writer.append([Change(stream, version, events)], self._queue.actor)

    # ── pausing ─────────────────────────────────────────────────────────────────────────────────────

    def pause(self, names: Sequence[str]) -> list[str]:
        """Pause schedules, all or none. Returns those that were not paused before."""
        with self._store.writer.transaction():
            changed = [each for each in map(self.named, names) if each.paused_at is None]
            for each in changed:
                self._append(each.name, [e.SchedulePaused()], each)
        return [each.name for each in changed]

    def resume(self, names: Sequence[str]) -> list[str]:
        """Resume schedules, all or none. Returns those that were paused. The slots during the pause are skipped."""
        counted = self._count(names)
        with self._store.writer.transaction():
            changed = [each for each in map(self.named, names) if each.paused_at is not None]
            for each in changed:
                passed, following = _passed(each, self._store.log.wall(), counted)
                pause = bisect_right(passed, (each.paused_at or 0) - each.definition.offset)
                self._append(each.name, decide_resume(passed[:pause], passed[pause:], following), each)
        return [each.name for each in changed]

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────

    def run(self, name: str) -> tuple[str, bool]:
        """Add a job now, outside the slots. Returns its id and True, or the live job with its unique key and False."""
        with self._store.writer.transaction():
            schedule, now = self.named(name), self._store.log.wall()
            if (holder := self._holder(schedule)) is not None:
                return holder, False
            changes = manual_change(self._store, schedule, [now], "m", now)
            self._store.writer.append(changes, self._queue.actor)
        return changes[0].stream_id, True

    def _holder(self, schedule: Schedule) -> str | None:
        """The live job that has the unique key of the schedule's jobs."""
        key = schedule.definition.job.unique
        return None if key is None else self._store.tables.holder(key)

    def fire(self, name: str, version: int) -> Sequence[e.Event]:
        """Decide on the slots that are due, unless the schedule is no longer at that version. Holds the log's lock.

        Raises UnknownZoneError.
        """
        schedule = self._store.schedules.named(name)
        if schedule is None or schedule.version != version:
            return []
        if self._store.log.version(schedule_stream(name)) != version:
            raise RefusedError(f"its table row and its events disagree: {command_line('rebuild')}")
        return fire(self._store, schedule, self._store.log.wall(), self._queue.actor)

    def missing(self, name: str, first: int, last: int) -> tuple[list[int], int]:
        """The slots from `first` to `last` that have made no job, and how many have. Raises UsageError."""
        schedule = self.named(name)
        slots = takewhile(lambda slot: slot <= last, slots_of(schedule.definition)(first - 1))
        missing, ran = list[int](), 0
        for slot in slots:
            if self._store.log.version(job_of(name, stamp(slot))):
                ran += 1
            else:
                missing.append(slot)
            if len(missing) > MOST_BACKFILLED:
                raise UsageError(f"that is more than {MOST_BACKFILLED} jobs: choose a shorter span")
        return missing, ran

    def backfill(self, name: str, slots: Sequence[int]) -> list[str]:
        """Add the jobs of these slots, whatever their outcome was. Returns the ids. Raises RefusedError."""
        with self._store.writer.transaction():
            schedule, now = self.named(name), self._store.log.wall()
            key = schedule.definition.job.unique
            if key is not None and (len(slots) > 1 or self._holder(schedule) is not None):
                raise RefusedError(f"its jobs have the unique key {key}, so only one can be live at a time")
            changes = manual_change(self._store, schedule, slots, "", now)
            self._store.writer.append(changes, self._queue.actor)
        return [change.stream_id for change in changes[:-1]]


def _passed(schedule: Schedule, now: int, counted: _Counted) -> tuple[Sequence[int], int | None]:
    """The slots up to `now` that are not decided on, and the slot after them. Raises UnknownZoneError."""
    passed = passed_slots(schedule, now, counted.get((schedule.name, schedule.version), ()))
    return passed, next(next_slots(schedule.definition, passed[-1] if passed else schedule.anchor), None)


def _within(definition: e.ScheduleSet, slots: Iterator[int]) -> Iterator[int]:
    """The slots up to the definition's end."""
    until = definition.until
    return slots if until is None else takewhile(lambda slot: slot <= until, slots)


def next_slots(definition: e.ScheduleSet, after: int) -> Iterator[int]:
    """The slots after a moment, up to the definition's end. Raises UnknownZoneError."""
    return _within(definition, slots_of(definition)(after))


_COMPUTED = ("next", "clock", "offset")


def definition_differs(one: e.ScheduleSet, other: e.ScheduleSet) -> list[str]:
    """The fields in which two definitions differ, those of the job included."""
    names = [name for name in one.__struct_fields__ if name not in (*_COMPUTED, "job")]
    fields = [name for name in names if getattr(one, name) != getattr(other, name)]
    jobs = [name for name in one.job.__struct_fields__ if getattr(one.job, name) != getattr(other.job, name)]
    return [*fields, *jobs]
