"""Turns a schedule as written into the definition that is stored: checks every field, and fills in the others."""

from collections.abc import Mapping
from hashlib import sha256

from msgspec import Struct

from queuectl import timetable
from queuectl.application import job_fields as fields
from queuectl.application.schedules import next_slots
from queuectl.domain.events import Enqueued, ScheduleSet
from queuectl.domain.names import is_id
from queuectl.domain.schedule import CATCH_UPS, MAX_NAME, OVERLAPS
from queuectl.errors import UsageError
from queuectl.units import DAY, MINUTE, SECOND, local_time, parse_time, quoted

__all__ = ["ScheduleInput", "ScheduleReader", "check_name"]

UNKNOWN_ZONE = "this machine's time zone has no name that is known here, so the times are in UTC: --tz sets another"


class ScheduleInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a schedule runs, as written. A field that was not given is None. Durations given as numbers are seconds."""

    cron: str | None = None
    every: str | float | None = None
    start: str | None = None
    tz: str | None = None
    overlap: str | None = None
    catch_up: str | None = None
    catch_up_within: str | float | None = None
    grace: str | float | None = None
    spread: str | float | None = None
    until: str | None = None
    paused: bool | None = None


def check_name(name: str) -> str:
    """A schedule's name. Raises UsageError."""
    if not is_id(name) or len(name) > MAX_NAME:
        allowed = f"use up to {MAX_NAME} letters, digits and . _ -, the first a letter or digit"
        raise UsageError(f"schedule: {quoted(name)} is not allowed: {allowed}")
    return name


class ScheduleReader:
    """Reads schedules. `now` is microseconds since the epoch; `log_id` makes the spread differ between queues.

    `notes` are messages for the user.
    """

    def __init__(self, now: int, log_id: str, environ: Mapping[str, str]) -> None:
        self._now, self._log_id, self._environ = now, log_id, environ
        self.notes: dict[str, None] = {}

    def definition(
        self, name: str, given: ScheduleInput, job: Enqueued, managed_by: str | None = None, start: int | None = None
    ) -> ScheduleSet:
        """The definition that an input asks for. `start` is used for an interval without a start. Raises UsageError."""
        check_name(name)
        if job.at is not None or job.delay:
            raise UsageError("a schedule's job takes no delay and no time (at): the schedule says when")
        cron, every = self._when(given)
        spread = _duration("spread", given.spread, 0)
        found = ScheduleSet(
            job=job,
            cron=cron,
            every=every,
            start=None if every is None else self._start(given.start, start),
            tz="UTC" if cron is None else self._zone(given.tz),
            overlap=_choice("overlap", given.overlap, OVERLAPS),
            catch_up=_choice("catch_up", given.catch_up, CATCH_UPS),
            within=_duration("catch_up_within", given.catch_up_within, DAY),
            grace=_duration("grace", given.grace, MINUTE),
            spread=spread,
            offset=self._offset(name, spread),
            until=None if given.until is None else self._moment("until", given.until),
            managed_by=managed_by,
        )
        self._check(found)
        return found

    def _when(self, given: ScheduleInput) -> tuple[str | None, int | None]:
        """The cron expression or the interval."""
        if (given.cron is None) == (given.every is None):
            raise UsageError("give either a cron expression or --every: exactly one of them")
        if given.cron is not None:
            if given.start is not None:
                raise UsageError("--start goes with --every")
            return str(fields.parsed("cron", timetable.five_fields, given.cron)), None
        if given.tz is not None:
            raise UsageError("--every counts elapsed time, which is the same in every zone: leave --tz out")
        every = fields.duration("every", given.every or 0)
        if every < SECOND:
            raise UsageError("every: at least 1s")
        return None, every

    def _start(self, given: str | None, known: int | None) -> int:
        if given is not None:
            return self._moment("start", given)
        return self._now // SECOND * SECOND if known is None else known

    def _moment(self, field: str, text: str) -> int:
        return int(fields.parsed(field, lambda text: parse_time(text, self._now), text))

    def _zone(self, given: str | None) -> str:
        if given is None:
            own = timetable.own_zone(self._environ)
            if own is None:
                self.notes[UNKNOWN_ZONE] = None
            return own or "UTC"
        fields.parsed("tz", timetable.zone, given)
        return given

    def _offset(self, name: str, spread: int) -> int:
        """By how much the schedule runs later than its slots: always the same whole seconds for a name in a queue."""
        seconds = spread // SECOND
        if not seconds:
            return 0
        number = int.from_bytes(sha256(f"{self._log_id}\n{name}".encode()).digest()[:8])
        return number % seconds * SECOND

    def _check(self, found: ScheduleSet) -> None:
        if found.catch_up == "all" and found.overlap == "skip":
            raise UsageError(
                "catch_up all goes with overlap queue or allow: with skip, a missed time would skip the next"
            )
        if next(next_slots(found, self._now), None) is None:
            end = f"its end {local_time(found.until)} comes before its next time" if found.until else "no time is left"
            raise UsageError(f"the schedule would never run: {end}")


def _choice(field: str, given: str | None, choices: tuple[str, ...]) -> str:
    if given is None:
        return choices[0]
    if given not in choices:
        raise UsageError(f"{field}: {quoted(given)} is not one of {', '.join(choices)}")
    return given


def _duration(field: str, given: str | float | None, default: int) -> int:
    return default if given is None else fields.duration(field, given)
