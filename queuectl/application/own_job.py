"""The job that a command runs inside: it must not wait for that job, or for the worker that runs it."""

from collections.abc import Mapping
from contextlib import suppress

from queuectl.application.queue import Queue
from queuectl.process.orphans import TOKEN, queue_scope

__all__ = ["own_job", "own_worker"]


def own_job(queue: Queue, environ: Mapping[str, str]) -> str | None:
    """The id of the job of this queue, and of no copy of it, whose command we are part of."""
    return environ.get("QUEUECTL_JOB_ID") if _is_of(queue, environ.get(TOKEN, "")) else None


def own_worker(queue: Queue, environ: Mapping[str, str]) -> str | None:
    """The name of the worker that runs that job."""
    return environ.get("QUEUECTL_WORKER") if _is_of(queue, environ.get(TOKEN, "")) else None


def _is_of(queue: Queue, token: str) -> bool:
    if not token:
        return False
    location = queue.store.location
    with suppress(OSError):  # without a lock file no job runs
        ours = queue_scope(queue.store.log.log_id, location.output_folder, location.spans_hosts)
        return token.rsplit(":", 2)[0] == ours
    return False
