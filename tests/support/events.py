"""Events for tests of the domain and of stores, with the same values each time."""

from typing import Any

from queuectl.domain import events as e
from queuectl.domain.commands import Claimant
from queuectl.units import HOUR, SECOND

__all__ = ["HOUR", "SECOND", "START", "a_spec", "buried", "claimant", "claimed", "completed", "retried"]

START = 1_795_490_400 * SECOND  # 2026-11-24T03:20:00Z


def a_spec(command: str = "true", **promises: Any) -> e.Enqueued:
    usual = {
        "queue": "default",
        "priority": 0,
        "max_retries": 3,
        "backoff_base": 2,
        "backoff_cap": HOUR,
        "jitter": False,
        "cwd": "/",
    }
    return e.Enqueued(command=command, **{**usual, **promises})


def claimed(run: int = 1, worker: str = "w1") -> e.Claimed:
    return e.Claimed(
        run=run, worker=worker, host="box", boot_id="b", pid=10, pid_namespace=1, pid_started_at=5, lease=30 * SECOND
    )


def claimant(worker: str = "w1") -> Claimant:
    """A claimant whose process does not exist."""
    return Claimant(worker, host="box", boot_id="b", pid=10, pid_namespace=1, pid_started_at=5, lease=30 * SECOND)


def completed(run: int = 1, **output: Any) -> e.Completed:
    return e.Completed(run=run, **{"duration": SECOND, **output})


def retried(run: int = 1, wait: int = 2 * SECOND, cause: Any = None, **output: Any) -> e.RetryScheduled:
    return e.RetryScheduled(run=run, cause=cause or e.Exited(1), wait=wait, **{"duration": SECOND, **output})


def buried(run: int = 1, cause: Any = None, **output: Any) -> e.DeadLettered:
    return e.DeadLettered(run=run, cause=cause or e.Exited(1), **{"duration": SECOND, **output})
