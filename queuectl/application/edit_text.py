"""A pending job as text for an editor: JSON, with durations as people write them; and the edit that a text asks for."""

import json
from typing import Any

from msgspec.structs import asdict

from queuectl.application.after_fields import as_texts
from queuectl.application.editing import Edit
from queuectl.application.job_json import JobInput, decode_job
from queuectl.application.job_spec import as_fields
from queuectl.domain.job import Job
from queuectl.errors import UsageError
from queuectl.units import format_duration, format_time

__all__ = ["edit_of", "text_of", "with_error"]

_DURATIONS = ("backoff_cap", "retry_wait", "timeout")
_FIXED = ("id", "unique")


def text_of(job: Job) -> str:
    """The job's fields, one a line, below what a person has to know."""
    return f"{_comment(job)}{json.dumps(_fields(job), indent=2, ensure_ascii=False)}\n"


def with_error(text: str, error: str) -> str:
    """The text as it was written, below the error in it."""
    lines = [line for line in text.split("\n") if not line.startswith("# error: ")]
    return "\n".join([f"# error: {error}", *lines])


def edit_of(job: Job, text: str) -> Edit:
    """The edit that makes the job what the text says: the fields in which it differs. Raises UsageError."""
    body = "\n".join(line for line in text.split("\n") if not line.startswith("#"))
    given, _ = decode_job(body)
    shown = _as_input(_fields(job))
    for name in _FIXED:
        if getattr(given, name) != getattr(shown, name):
            raise UsageError(f"{name}: it cannot be changed (`copy` makes a new job)")
    differing = {
        name: value for name, value in asdict(given).items() if value is not None and value != getattr(shown, name)
    }
    return Edit(JobInput(**differing), whole=True)


def _comment(job: Job) -> str:
    return (
        f"# Job {job.id}. Change fields, save, and leave the editor. An unchanged text changes nothing.\n"
        '# "delay": "10m" makes it due in ten minutes. Lines that begin with # are ignored.\n'
    )


def _fields(job: Job) -> dict[str, Any]:
    """The fields in the text: those that are set, and the time at which the job is due."""
    spec = job.spec
    found = {**as_fields(spec, job.id), "at": None if job.due_at is None else format_time(job.due_at)}
    for name in _DURATIONS:
        value = getattr(spec, name)
        found[name] = None if value is None else format_duration(value)
    found["timeout"] = found["timeout"] or "none"
    found["argv" if not spec.argv else "command"] = None
    found["after"] = as_texts(spec.after)
    left_out = ("delay", "batch", "seq")
    return {name: value for name, value in found.items() if value is not None and name not in left_out}


def _as_input(fields: dict[str, Any]) -> JobInput:
    given, _ = decode_job(json.dumps(fields))
    return given
