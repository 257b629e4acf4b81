"""The tables as a pure function of the log: a job or a note becomes rows, which stores only write to their tables.

Times in `jobs` and `dlq` are integer UNIX seconds (names and units are a public contract), except `due_at`.
"""

from collections.abc import Callable
from functools import cache
from operator import is_, itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from queuectl.domain import events as e
from queuectl.domain.job import Job, errors_of
from queuectl.domain.machine import State
from queuectl.domain.names import SCHEDULES
from queuectl.units import SECOND

if TYPE_CHECKING:
    from queuectl.domain.schedule import Schedule

__all__ = [
    "COUNT_KEYS",
    "DLQ",
    "JOBS",
    "NO_TAGS",
    "TABLES",
    "TAGS",
    "VERSION",
    "WAITS",
    "CountKey",
    "Row",
    "Update",
    "count_key",
    "job_row",
    "note_row",
    "place_of",
    "rows",
    "schedule_of",
    "update_of",
]

VERSION = 11
"""The projection version: another number makes an older database rebuild its tables on open."""


JOBS = (
    "id",
    "command",
    "state",
    "attempts",
    "max_retries",
    "next_run_at",
    "locked_at",
    "locked_by",
    "stdout",
    "stderr",
    "last_error",
    "created_at",
    "updated_at",
    "version",
    "run",
    "queue",
    "priority",
    "timeout",
    "exit_code",
    "tags",
    "due_at",
    "position",
    "unique_key",
    "finished_at",
    "duration",
    "cancel_requested",
    "batch",
    "seq",
    "origin",
    "after",
    "if_unmet",
    "waiting",
)
TAGS = JOBS.index("tags")
NO_TAGS = "{}"
"""The column `tags` of a job without tags."""
DLQ = ("id", "command", "attempts", "last_error", "moved_at", "original_created_at", "signature")
PURGED = ("id", "batch", "state")
SETTINGS = ("key", "value", "updated_at")
PAUSES = ("queue", "paused_at", "paused_by")
SCHEDULES_COLUMNS = (
    "name",
    "cron",
    "every",
    "tz",
    "command",
    "next_at",
    "last_slot",
    "last_job",
    "paused_at",
    "paused_by",
    "managed_by",
    "since",
    "next_slot",
    "version",
    "definition",
)
COUNT_KEYS = ("queue", "priority", "state")

TABLES = {
    "jobs": JOBS,
    "dlq": DLQ,
    "purged": PURGED,
    "settings": SETTINGS,
    "pauses": PAUSES,
    "schedules": SCHEDULES_COLUMNS,
}
"""Each projection's columns; the first is its key. `counts`, `waits` and `job_tags` follow from `jobs`."""
WAITS = ("id", "number", "kind", "name", "wanted", "standing", "if_unmet")
"""The columns of `waits`: a row for each dependency of a job that waits."""

_encode = msgspec.json.Encoder(order="sorted").encode

Values = tuple[Any, ...]
CountKey = tuple[str, int, str]


class Row(Struct, frozen=True):
    """A row that a table must hold; `values` None: the row must be absent."""

    table: str
    key: str
    values: Values | None


def rows(job: Job | None) -> dict[str, Values]:
    """A job's rows by table: one in `dlq` exactly when its state is `dlq`. A purged one has none but for its batch."""
    if job is None:
        return {}
    if job.state is State.PURGED:
        return {"purged": (job.id, job.spec.batch, job.purged_from)} if job.spec.batch and job.purged_from else {}
    if job.state is State.DLQ:
        return {"jobs": job_row(job), "dlq": _dead_letter(job)}
    return {"jobs": job_row(job)}


class Update(Struct, frozen=True):
    """The columns of `jobs` that may differ (by number); `pick` takes their values, and then the key, from a row."""

    columns: tuple[int, ...]
    pick: Callable[[Values], Values]


_COLUMNS_OF = {
    "state": ("state",),
    "attempts": ("attempts",),
    "machine_losses": (),
    "run": ("run",),
    "due_at": ("next_run_at", "due_at"),
    "waits_from": (),
    "freed": (),
    "purged_from": (),
    "original": (),
    "claim": ("locked_by",),
    "locked_at": ("locked_at",),
    "cancel_requested": ("cancel_requested",),
    "finished_at": ("finished_at",),
    "duration": ("duration",),
    "exit_code": ("exit_code",),
    "last_error": ("last_error",),
    "cause": (),
    "stdout": ("stdout",),
    "stderr": ("stderr",),
    "updated_at": ("updated_at",),
    "version": ("version",),
}
"""The fields of a job that its moves change, and the columns of `jobs` that each decides."""


def update_of(old: Job | None, new: Job) -> Update | None:
    """The columns of `jobs` that a change updates; None if whole rows have to be compared, or other tables change too.

    Fields are compared by identity, which is quick: `evolve` takes over the fields that a move does not change.
    """
    if old is None or old.state in _OTHER_TABLES or new.state in _OTHER_TABLES:
        return None
    return _update(tuple(map(is_, astuple(old), astuple(new))), bool(old.spec.after))


_OTHER_TABLES = (State.DLQ, State.PURGED)


@cache
def _update(same: tuple[bool, ...], depends: bool) -> Update | None:
    """`depends`: the job has dependencies, so whether it waits may change too."""
    changed = [name for name, is_same in zip(Job.__struct_fields__, same, strict=True) if not is_same]
    if not set(changed) <= _COLUMNS_OF.keys():
        return None
    names = {column for name in changed for column in _COLUMNS_OF[name]} | ({"waiting"} if depends else set())
    columns = tuple(sorted(map(JOBS.index, names)))
    return Update(columns, itemgetter(*columns, 0) if columns else lambda row: row[:1])


def count_key(job: Job | None) -> CountKey | None:
    """The row of `counts` in which a job is counted."""
    if job is None or job.state is State.PURGED:
        return None
    return (job.spec.queue, job.spec.priority, _NAMES[job.state])


_NAMES = {state: state.value for state in State}
"""Looked up, because `value` is slow."""


def place_of(record: e.RecordedEvent) -> tuple[str, str] | None:
    """The table and key of the row that a note changes, when the new row follows from the old one."""
    if record.stream_id.startswith(SCHEDULES):
        return "schedules", record.stream_id.removeprefix(SCHEDULES)
    return None


def note_row(record: e.RecordedEvent, before: Row | None = None) -> Row | None:
    """The row that a note sets, if any. `before` is the row at `place_of`, None when there is none."""
    if record.stream_id.startswith(SCHEDULES):
        return _schedule_row(record, before)
    match record.event:
        case e.SettingChanged(key=key, value=None):
            return Row("settings", key, None)
        case e.SettingChanged(key=key, value=value):
            return Row("settings", key, (key, value, record.recorded_at // SECOND))
        case e.QueuePaused():
            queue = record.stream_id.partition(":")[2]
            return Row("pauses", queue, (queue, record.recorded_at // SECOND, record.actor))
        case e.QueueResumed():
            return Row("pauses", record.stream_id.partition(":")[2], None)
    return None


def _schedule_row(record: e.RecordedEvent, before: Row | None) -> Row:
    from queuectl.domain.schedule import evolve_schedule

    name = record.stream_id.removeprefix(SCHEDULES)
    after = evolve_schedule(None if before is None else _readable(before), record)
    return Row("schedules", name, None if after is None else _schedule(after))


def _readable(row: Row) -> "Schedule | None":
    """The schedule of a row; None when it is gone or corrupt, which `verify` reports."""
    try:
        return None if row.values is None else schedule_of(row.values)
    except (msgspec.MsgspecError, TypeError):
        return None


def _schedule(schedule: "Schedule") -> Values:
    """A schedule's row. All its times are microseconds."""
    definition = schedule.definition
    return (
        schedule.name,
        definition.cron,
        definition.every,
        definition.tz,
        definition.job.command,
        schedule.next_at,
        schedule.last_slot,
        schedule.last_job,
        schedule.paused_at,
        schedule.paused_by,
        definition.managed_by,
        schedule.since,
        schedule.next_slot,
        schedule.version,
        _written(definition),
    )


def _written(definition: e.ScheduleSet) -> str:
    """A definition in JSON. It is read back once, so that it is the same from the log, where 2 is read as 2.0."""
    return _encode(msgspec.json.decode(_encode(definition), type=e.ScheduleSet)).decode()


def schedule_of(values: Values) -> "Schedule":
    """The schedule that a row stands for. Raises msgspec.MsgspecError for a corrupt one."""
    from queuectl.domain.schedule import Schedule

    row = dict(zip(SCHEDULES_COLUMNS, values, strict=True))
    return Schedule(
        name=row["name"],
        version=row["version"],
        definition=msgspec.json.decode(row["definition"], type=e.ScheduleSet),
        since=row["since"],
        last_slot=row["last_slot"],
        next_slot=row["next_slot"],
        last_job=row["last_job"],
        paused_at=row["paused_at"],
        paused_by=row["paused_by"],
    )


def job_row(job: Job) -> Values:
    """A job's row in `jobs`."""
    spec = job.spec
    return (
        job.id,
        spec.command,
        _NAMES[job.state],
        job.attempts,
        spec.max_retries,
        _ceiling(job.due_at),
        _seconds(job.locked_at),
        job.claim.worker if job.claim else None,
        job.stdout,
        job.stderr,
        job.last_error,
        job.created_at // SECOND,
        job.updated_at // SECOND,
        job.version,
        job.run,
        spec.queue,
        spec.priority,
        _fraction(spec.timeout),
        job.exit_code,
        _encode(spec.tags).decode() if spec.tags else "{}",
        job.due_at,
        job.position,
        spec.unique,
        _seconds(job.finished_at),
        _fraction(job.duration),
        job.cancel_requested,
        spec.batch,
        spec.seq or None,
        spec.origin and spec.origin.label,
        _encode(spec.after).decode() if spec.after else None,
        spec.if_unmet if spec.after else None,
        1 if spec.after and job.is_waiting else None,
    )


def _dead_letter(job: Job) -> Values:
    moved_at = _seconds(job.finished_at)
    created_at = job.created_at // SECOND
    return (job.id, job.spec.command, job.attempts, job.last_error, moved_at, created_at, _signature(job))


def _signature(job: Job) -> str | None:
    from queuectl.domain.signature import signature  # its patterns take time to compile, and most commands bury no job

    return None if job.cause is None else signature(job.cause, errors_of(job.spec, job))


def _seconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds // SECOND


def _ceiling(microseconds: int | None) -> int | None:
    return None if microseconds is None else -(-microseconds // SECOND)


def _fraction(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / SECOND
