"""A job that would be added, as `enqueue --dry-run` shows it: in the form in which it can be enqueued."""

from typing import Any

from queuectl.application.queue import NewJob
from queuectl.units import SECOND, format_time

__all__ = ["preview"]


def preview(job: NewJob) -> dict[str, Any]:
    """The fields of a job in JSON: durations are seconds, times ISO 8601; `id` is null when it is made later."""
    spec = job.spec
    return {
        "id": job.id,
        "command": spec.command,
        "argv": list(spec.argv),
        "queue": spec.queue,
        "priority": spec.priority,
        "max_retries": spec.max_retries,
        "backoff_base": spec.backoff_base,
        "backoff_cap": spec.backoff_cap / SECOND,
        "jitter": spec.jitter,
        "timeout": None if spec.timeout is None else spec.timeout / SECOND,
        "delay": spec.delay / SECOND if spec.at is None else None,
        "at": None if spec.at is None else format_time(spec.at),
        "cwd": spec.cwd,
        "env": spec.env,
        "secret_env": list(spec.secret_env),
        "tags": spec.tags,
        "unique": spec.unique,
        "umask": f"{spec.umask:03o}",
        "batch": spec.batch,
        "seq": spec.seq or None,
    }
