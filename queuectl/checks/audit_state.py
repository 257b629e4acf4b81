"""What the audit keeps of each job: what it was promised, and how far its events have brought it.

Shares nothing with `domain/job.py`, which the audit is to judge; only the events' structs are the same.
"""

from msgspec import Struct

from queuectl.domain import events as e
from queuectl.units import SECOND

__all__ = ["AuditedJob", "EndedJob", "OpenClaim", "Promise", "full_wait", "promise_of"]


class Promise(Struct, frozen=True):
    """What a job was promised that can be broken."""

    queue: str
    max_retries: int
    base: float
    cap: int
    jitter: bool
    timeout: int | None
    unique: str | None


class EndedJob(Struct, frozen=True):
    """What is kept of a job that has ended, should it be run again; jobs alike share one."""

    promise: Promise
    state: str
    run: int
    version: int


class AuditedJob(Struct):
    """A job as its events make it. `claim` is there while a run is open.

    `due_at` is on the wall clock; `waits_from` is where its wait begins on that clock, None for a given moment. When
    that is later than the clock of the claim, it was recorded by a clock that was ahead: how long the job really
    waited is not in the log.
    """

    promise: Promise
    state: str = ""
    run: int = 0
    version: int = 0
    attempts: int = 0
    machine_losses: int = 0
    due_at: int = 0
    waits_from: int | None = None
    claim: e.Claimed | None = None
    claimed_at: int = 0
    cancel_asked: bool = False


class OpenClaim(Struct, frozen=True):
    """A run without an end in the log: its worker has it still, or nobody has noticed yet that it was lost."""

    stream_id: str
    run: int
    worker: str
    since: int


def promise_of(spec: e.Enqueued) -> Promise:
    """What an enqueued job was promised."""
    return Promise(
        queue=spec.queue,
        max_retries=spec.max_retries,
        base=spec.backoff_base,
        cap=spec.backoff_cap,
        jitter=spec.jitter,
        timeout=spec.timeout,
        unique=spec.unique,
    )


def full_wait(promise: Promise, attempts: int) -> float:
    """Microseconds to wait after so many attempts: a second, times the base for each, until it exceeds the cap."""
    wait = 1.0
    for _ in range(attempts):
        before, wait = wait, wait * promise.base
        if wait == before or (wait > before and wait * SECOND > promise.cap):
            break
    return min(wait * SECOND, float(promise.cap))
