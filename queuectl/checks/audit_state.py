"""The audit's record of each job: its settings, and its state after the events read so far.

It shares nothing with `domain/job.py`, whose rules the audit checks; only the events' structs are the same.
"""

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from queuectl.domain import events as e
from queuectl.units import SECOND

__all__ = ["AuditedJob", "EndedJob", "JobSettings", "OpenClaim", "amended", "full_wait", "settings_of"]


class JobSettings(Struct, frozen=True):
    """The job's settings that the rules are checked against."""

    queue: str
    max_retries: int
    base: float
    cap: int
    fixed: int | None
    jitter: bool
    timeout: int | None
    unique: str | None
    batch: str | None
    delay: int
    at: int | None
    after: tuple[e.After, ...]


class EndedJob(Struct, frozen=True):
    """An ended job, stored in case it is requeued. Equal ones are one object, to save memory."""

    settings: JobSettings
    state: str
    run: int
    version: int
    is_waiting: bool
    amended_at: int | None = None


class AuditedJob(Struct):
    """A job, computed from its events. `claim` is set while a run is open.

    `due_at` is on the wall clock; `waits_from` is where its wait begins on that clock, None if the due time was given.
    `set_at` is the position of the event that set them, `next_clock` the clock of the event after that one.
    `is_waiting`: its dependencies were never met.
    `least_allowed` is how many attempts are allowed at least, because there were so many when the limit was changed.
    `amended_at` is the position of a change to an ended job, whose next event has to requeue it.
    """

    settings: JobSettings
    state: str = ""
    run: int = 0
    version: int = 0
    attempts: int = 0
    machine_losses: int = 0
    due_at: int = 0
    waits_from: int | None = None
    set_at: int = 0
    next_clock: int = 0
    claim: e.Claimed | None = None
    claimed_at: int = 0
    cancel_asked: bool = False
    least_allowed: int = 0
    amended_at: int | None = None
    is_waiting: bool = False


class OpenClaim(Struct, frozen=True):
    """A run without an end in the log: it is still running, or its worker was lost and that is not recorded yet."""

    stream_id: str
    run: int
    worker: str
    since: int


def settings_of(spec: e.Enqueued) -> JobSettings:
    """The settings of an enqueued job."""
    return JobSettings(
        queue=spec.queue,
        max_retries=spec.max_retries,
        base=spec.backoff_base,
        cap=spec.backoff_cap,
        fixed=spec.retry_wait,
        jitter=spec.jitter,
        timeout=spec.timeout,
        unique=spec.unique,
        batch=spec.batch,
        delay=spec.delay,
        at=spec.at,
        after=spec.after,
    )


def amended(settings: JobSettings, changes: e.Changes) -> JobSettings:
    """The settings after a person's changes; those that are None stay."""
    fixed = settings.fixed if changes.backoff_base is None else None
    return replace(
        settings,
        queue=_either(changes.queue, settings.queue),
        max_retries=_either(changes.max_retries, settings.max_retries),
        base=_either(changes.backoff_base, settings.base),
        cap=_either(changes.backoff_cap, settings.cap),
        fixed=_either(changes.retry_wait, fixed),
        jitter=_either(changes.jitter, settings.jitter),
        timeout=settings.timeout if changes.timeout is None else changes.timeout or None,
        delay=_either(changes.delay, settings.delay),
        at=settings.at if changes.delay is None else changes.at,
        after=_either(changes.after, settings.after),
    )


def _either(new: Any, old: Any) -> Any:
    return old if new is None else new


def full_wait(settings: JobSettings, attempts: int) -> float:
    """Microseconds to wait after this many attempts: a fixed wait, or `base ** attempts` seconds, at most the cap."""
    if settings.fixed is not None:
        return float(settings.fixed)
    wait = 1.0
    for _ in range(attempts):
        before, wait = wait, wait * settings.base
        if wait == before or (wait > before and wait * SECOND > settings.cap):
            break
    return min(wait * SECOND, float(settings.cap))
