"""The JSON that other programs read: the shapes of rows and events are a public contract."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job
from queuectl.render.job_cells import dependencies_in, tags_in
from queuectl.units import SECOND, format_time

__all__ = ["IN_SECONDS", "dead_letter", "event", "job", "whole_job", "worker"]

_SECONDS = ("next_run_at", "locked_at", "created_at", "updated_at", "finished_at", "moved_at", "original_created_at")

IN_SECONDS = ("timeout", "duration", "backoff_cap", "retry_wait")
"""The fields of a job that are durations."""


def job(row: Mapping[str, Any], folded: Job | None = None) -> dict[str, Any]:
    """A row of `jobs`: its columns under their names, times ISO 8601; and its number.

    `folded` is the job of a row that is running: then it has `started_at`, and the `pid` and `host` of its worker.
    """
    shown = _times(row)
    shown["due_at"] = None if row["due_at"] is None else format_time(row["due_at"])
    shown["tags"] = tags_in(row["tags"])
    shown["number"] = row["position"]
    claim = None if folded is None else folded.claim
    started = None if folded is None else folded.locked_at
    shown["started_at"] = None if started is None else format_time(started)
    shown["pid"], shown["host"] = (None, None) if claim is None else (claim.pid, claim.host)
    if "after" in row:
        shown["after"] = [{each.kind: each.name, "on": each.on} for each in dependencies_in(row["after"])]
        shown["waiting"], shown["held"] = bool(row["waiting"]), bool(row.get("held"))
    return shown


def whole_job(row: Mapping[str, Any], folded: Job) -> dict[str, Any]:
    """A row of `jobs`, with the job's other settings. Durations are seconds, as in the row."""
    spec = folded.spec
    return {
        **job(row, folded),
        "argv": list(spec.argv),
        "cwd": spec.cwd,
        "env": spec.env,
        "secret_env": list(spec.secret_env),
        "backoff_base": spec.backoff_base,
        "backoff_cap": spec.backoff_cap / SECOND,
        "retry_wait": None if spec.retry_wait is None else spec.retry_wait / SECOND,
        "jitter": spec.jitter,
        "umask": f"{spec.umask:03o}",
        "merge_output": spec.merge_output,
        "stdin": None if spec.stdin is None else spec.stdin.path,
        "stdin_sha256": None if spec.stdin is None else spec.stdin.sha256,
    }


def dead_letter(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `dlq` with the other columns of its job, if it has them, times ISO 8601."""
    return {**_times(row), **(job(row) if "position" in row else {})}


def worker(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `workers`, without the columns that only queuectl uses."""
    shown = {name: row[name] for name in ("name", "host", "pid", "slots", "queues", "running")}
    shown["runs"] = row["jobs_done"]
    if "state" in row:
        shown["state"] = row["state"]
    for name in ("started_at", "last_heartbeat"):
        shown[name] = format_time(row[name] * SECOND)
    return {**shown, **{name: row[name] for name in ("version", "log_file") if name in row}}


class DamagedEvent(Protocol):
    """An event of the log that cannot be read, and why."""

    position: int
    stream_id: str
    why: str


def event(record: RecordedEvent | DamagedEvent) -> dict[str, Any]:
    """An event of the log, with `data` as an object and the digest in hex; for a damaged one, what is wrong."""
    if not isinstance(record, RecordedEvent):
        return {"position": record.position, "stream_id": record.stream_id, "damaged": record.why}
    return {
        "position": record.position,
        "stream_id": record.stream_id,
        "version": record.version,
        "type": record.type,
        "schema": record.schema,
        "recorded_at": format_time(record.recorded_at),
        "actor": record.actor,
        "data": msgspec.to_builtins(record.event),
        "digest": record.digest.hex(),
    }


def _times(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: format_time(value * SECOND) if name in _SECONDS and value is not None else value
        for name, value in row.items()
    }
