"""The tables as a pure function of the log: a job or a note becomes rows, which stores only write to their tables.

Times in `jobs` and `dlq` are integer UNIX seconds (names and units are a public contract), except `due_at`.
"""

from typing import Any

import msgspec
from msgspec import Struct

from queuectl.domain import events as e
from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.units import SECOND

__all__ = ["COUNT_KEYS", "DLQ", "JOBS", "TABLES", "VERSION", "Row", "count_key", "note_row", "rows"]

VERSION = 3
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
)
DLQ = ("id", "command", "attempts", "last_error", "moved_at", "original_created_at")
SETTINGS = ("key", "value", "updated_at")
PAUSES = ("queue", "paused_at", "paused_by")
COUNT_KEYS = ("queue", "priority", "state")

TABLES = {"jobs": JOBS, "dlq": DLQ, "settings": SETTINGS, "pauses": PAUSES}
"""Each projection's columns; the first is its key. `counts` is separate: it is a sum."""

_encode = msgspec.json.Encoder(order="sorted").encode

Values = tuple[Any, ...]


class Row(Struct, frozen=True):
    """A row that a table must hold; `values` None: the row must be absent."""

    table: str
    key: str
    values: Values | None


def rows(job: Job | None) -> dict[str, Values]:
    """A job's rows by table: none when purged, one in `dlq` exactly when its state is `dlq`."""
    if job is None or job.state is State.PURGED:
        return {}
    if job.state is State.DLQ:
        return {"jobs": _job(job), "dlq": _dead_letter(job)}
    return {"jobs": _job(job)}


def count_key(job: Job | None) -> tuple[str, int, str] | None:
    """The row of `counts` in which a job is counted."""
    if job is None or job.state is State.PURGED:
        return None
    return (job.spec.queue, job.spec.priority, job.state.value)


def note_row(record: e.RecordedEvent) -> Row | None:
    """The row that a note sets, if any."""
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


def _job(job: Job) -> Values:
    spec = job.spec
    return (
        job.id,
        spec.command,
        job.state.value,
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
    )


def _dead_letter(job: Job) -> Values:
    moved_at = _seconds(job.finished_at)
    return (job.id, job.spec.command, job.attempts, job.last_error, moved_at, job.created_at // SECOND)


def _seconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds // SECOND


def _ceiling(microseconds: int | None) -> int | None:
    return None if microseconds is None else -(-microseconds // SECOND)


def _fraction(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / SECOND
