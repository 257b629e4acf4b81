"""A job, and an event of its history, as a Python program sees them: plain values, aware times, timedeltas."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

import msgspec

from queuectl.application.after_fields import as_texts
from queuectl.domain.dependencies import NEVER
from queuectl.domain.events import After, RecordedEvent
from queuectl.domain.job import Job as FoldedJob
from queuectl.domain.machine import LIVE
from queuectl.domain.schedule import Schedule as FoldedSchedule
from queuectl.render.job_cells import dependencies_in, tags_in
from queuectl.store.projections import JOBS, job_row
from queuectl.store.reading_protocols import Waits

__all__ = [
    "Event",
    "Failures",
    "Job",
    "JobState",
    "Schedule",
    "as_event",
    "as_failures",
    "as_job",
    "as_schedule",
    "from_row",
]

JobState: TypeAlias = Literal["pending", "processing", "done", "dlq", "cancelled", "purged"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it was when it was read; read it again to see what has changed.

    All times are aware, in UTC, and whole seconds except `due_at`. `number` is the position of the job's first event
    in the log. `attempts` counts finished attempts since the last `retry`, `run` the claims so far. `due_at` is None
    unless the job is pending. `started_at` and `worker` are set while it is processing, `finished_at` once it has
    ended. `duration`, `exit_code`, `stdout`, `stderr` (the last 4 KiB of each) are those of its last attempt.
    `after` has its dependencies as `enqueue` takes them: `waiting` while it waits for them, and `held` when one of
    them can no longer end as wanted.
    """

    id: str
    number: int
    command: str
    queue: str
    priority: int
    state: JobState
    attempts: int
    max_retries: int
    run: int
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    timeout: timedelta | None
    duration: timedelta | None
    exit_code: int | None
    error: str | None
    stdout: str
    stderr: str
    tags: dict[str, str] = field(hash=False)
    unique: str | None
    after: tuple[str, ...]
    waiting: bool
    held: bool

    @property
    def ended(self) -> bool:
        """Whether it is done, dead (`dlq`) or cancelled. `retry` runs such a job again."""
        return self.state not in LIVE

    @property
    def succeeded(self) -> bool:
        """Whether its command ended with exit code 0."""
        return self.state == "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a job: `data` holds the fields of its type as in docs/events.md, durations in microseconds."""

    position: int
    version: int
    type: str
    at: datetime
    actor: str
    data: dict[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Failures with one signature: how many jobs and failed attempts, since when, in which queues.

    `error` is the newest one's, and `example` the id of its job.
    """

    signature: str
    jobs: int
    attempts: int
    first_at: datetime
    last_at: datetime
    queues: tuple[str, ...]
    error: str
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as it was when it was read. Either `cron`, in the zone `tz`, or `every` says when it runs.

    `next_at` is when it adds a job next; None while it is paused, and when it has ended. `last_at` is the last time
    that was decided on, and `last_job` the id of the last job that it added.
    """

    name: str
    cron: str | None
    every: timedelta | None
    tz: str
    command: str
    queue: str
    next_at: datetime | None
    last_at: datetime | None
    last_job: str | None
    paused: bool
    managed_by: str | None


def as_schedule(schedule: FoldedSchedule) -> Schedule:
    """A schedule as its row says."""
    definition = schedule.definition
    return Schedule(
        name=schedule.name,
        cron=definition.cron,
        every=None if definition.every is None else timedelta(microseconds=definition.every),
        tz=definition.tz,
        command=definition.job.command,
        queue=definition.job.queue,
        next_at=_moment(schedule.next_at),
        last_at=_moment(schedule.last_slot),
        last_job=schedule.last_job,
        paused=schedule.paused_at is not None,
        managed_by=definition.managed_by,
    )


def as_job(job: FoldedJob, waits: Waits) -> Job:
    """The job that its events make. It must not be purged: a purged job has no row."""
    row = dict(zip(JOBS, job_row(job), strict=True))
    held = bool(row["waiting"]) and any(each.standing == NEVER for each in waits.dependencies(job.id))
    return _job(row, dict(sorted(job.spec.tags.items())), job.spec.after, held)


def from_row(row: dict[str, Any]) -> Job:
    """The job that a row of `jobs` shows."""
    return _job(row, tags_in(row["tags"]), dependencies_in(row["after"]), bool(row["held"]))


def _job(row: dict[str, Any], tags: dict[str, str], after: tuple[After, ...], held: bool) -> Job:
    """The job that a row shows, but for the cells of JSON, which are read already."""
    return Job(
        id=row["id"],
        number=row["position"],
        command=row["command"],
        queue=row["queue"],
        priority=row["priority"],
        state=row["state"],
        attempts=row["attempts"],
        max_retries=row["max_retries"],
        run=row["run"],
        created_at=_EPOCH + timedelta(seconds=row["created_at"]),
        updated_at=_EPOCH + timedelta(seconds=row["updated_at"]),
        due_at=_moment(row["due_at"]),
        started_at=_second(row["locked_at"]),
        finished_at=_second(row["finished_at"]),
        worker=row["locked_by"],
        timeout=_span(row["timeout"]),
        duration=_span(row["duration"]),
        exit_code=row["exit_code"],
        error=row["last_error"],
        stdout=row["stdout"],
        stderr=row["stderr"],
        tags=tags,
        unique=row["unique_key"],
        after=tuple(as_texts(after)) if after else (),
        waiting=bool(row["waiting"]),
        held=held,
    )


def as_failures(row: Mapping[str, Any]) -> Failures:
    """A row in the shape of `failures --json`."""
    return Failures(
        signature=row["signature"],
        jobs=row["jobs"],
        attempts=row["attempts"],
        first_at=datetime.fromisoformat(row["first"]),
        last_at=datetime.fromisoformat(row["last"]),
        queues=tuple(row["queues"]),
        error=row["error"],
        example=row["example"],
    )


def as_event(record: RecordedEvent) -> Event:
    """An event of the log."""
    data: dict[str, Any] = msgspec.to_builtins(record.event)
    data.pop("type", None)
    return Event(
        position=record.position,
        version=record.version,
        type=record.type,
        at=_EPOCH + timedelta(microseconds=record.recorded_at),
        actor=record.actor,
        data=data,
    )


def _moment(microseconds: int | None) -> datetime | None:
    """A moment given as microseconds since the epoch."""
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def _second(seconds: int | None) -> datetime | None:
    """A moment given as UNIX seconds."""
    return None if seconds is None else _EPOCH + timedelta(seconds=seconds)


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
