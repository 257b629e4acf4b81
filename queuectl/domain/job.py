"""A job, computed from its events. `evolve` applies one event and never refuses it, because events are facts."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from queuectl.domain import events as e
from queuectl.domain.amendment import amended, reschedules
from queuectl.domain.machine import State, moved_to

__all__ = ["Job", "errors_of", "evolve", "fold", "is_due", "misdated_wait"]

_Changes = dict[str, Any]

_UNLOCKED: _Changes = {"claim": None, "locked_at": None, "cancel_requested": None}
"""Fields that every move out of `processing` clears."""


class Job(Struct, frozen=True, gc=False):
    """A job's current state. Times are microseconds since the epoch, UTC; `due_at` is set only while pending.

    `due_at` is on the wall clock. `waits_from` is the wall clock time at which its wait began, None when the due time
    itself was given (`--at`). All other times are on the log's clock, which never goes back.
    `machine_losses` counts the runs in a row, up to the last one, that were lost with their machine.
    `attempts` counts finished attempts since the last requeue, `run` the claims so far (never reset),
    `position` is that of its `enqueued` event, `spec` the settings recorded there with all changes since; `original` is
    set once there are any. `cause` and `last_error` are those of the last failed attempt, and None once an attempt
    completed. `freed` is whether its dependencies were once met since they were set, `purged_from` the state
    before it was purged.
    """

    id: str
    spec: e.Enqueued
    position: int
    created_at: int
    updated_at: int
    version: int
    state: State = State.PENDING
    attempts: int = 0
    machine_losses: int = 0
    run: int = 0
    due_at: int | None = None
    waits_from: int | None = None
    freed: bool = False
    claim: e.Claimed | None = None
    locked_at: int | None = None
    cancel_requested: str | None = None
    finished_at: int | None = None
    duration: int | None = None
    exit_code: int | None = None
    last_error: str | None = None
    cause: e.AnyCause | None = None
    stdout: str = ""
    stderr: str = ""
    original: e.Enqueued | None = None
    purged_from: State | None = None

    @property
    def promised(self) -> e.Enqueued:
        """The settings as they were recorded when the job was added."""
        return self.spec if self.original is None else self.original

    @property
    def has_no_retry(self) -> bool:
        """Whether the next failure moves it to the dead-letter queue."""
        return self.attempts >= self.spec.max_retries

    @property
    def is_waiting(self) -> bool:
        """Whether it is pending and waits for other jobs."""
        return bool(self.spec.after) and not self.freed and self.state is State.PENDING


def fold(records: Iterable[e.RecordedEvent], job: Job | None = None) -> Job | None:
    """The job after these events of its stream, in order."""
    for record in records:
        job = evolve(job, record)
    return job


def evolve(job: Job | None, record: e.RecordedEvent) -> Job | None:
    """The job after one more event."""
    event = record.event
    if type(event) is e.Enqueued:
        return _enqueued(record, event)
    if job is None:
        return None
    return _EVOLVE[type(event)](job, event, record.version, record.recorded_at)


def is_due(job: Job, now: int, behind_for: int | None = None) -> bool:
    """Whether a pending job may be claimed at `now`, on the wall clock.

    `behind_for` is how long the wall clock has been behind the log, None when it is not. If the wait begins in the
    future, the clock that recorded it was ahead: the wait is over once the clock has been behind for that long, as far
    as this process has seen or the log's later events say.
    """
    if job.due_at is None or job.due_at <= now or behind_for is None:
        return job.due_at is not None and job.due_at <= now
    wait = misdated_wait(job, now)
    return wait is not None and wait <= behind_for


def misdated_wait(job: Job, now: int) -> int | None:
    """The length of a pending job's wait (microseconds), if a clock ahead of `now` recorded it; None of any other job.

    The job's due time is wrong then: the wait counts from when the clock was right again.
    """
    if job.due_at is None or job.waits_from is None or job.waits_from <= now:
        return None
    return job.due_at - job.waits_from


class HasOutput(Protocol):
    """The end of a run: the last of its output."""

    @property
    def stdout(self) -> str:
        """The last 4 KiB."""

    @property
    def stderr(self) -> str:
        """The last 4 KiB."""


def errors_of(spec: e.Enqueued, end: HasOutput) -> str:
    """The output in which the command's errors are: its stderr, or all its output if that is merged."""
    return end.stdout if spec.merge_output else end.stderr


def _enqueued(record: e.RecordedEvent, spec: e.Enqueued) -> Job:
    now = record.recorded_at
    since = None if spec.at is not None else now if spec.clock is None else spec.clock
    due_at = spec.at if since is None else since + spec.delay
    stored = spec if spec.clock is None else replace(spec, clock=None)
    if spec.after:
        due_at = since = None
    return Job(record.stream_id, stored, record.position, now, now, record.version, due_at=due_at, waits_from=since)


def _claimed(job: Job, event: e.Claimed, version: int, now: int) -> Job:
    return replace(
        job,
        version=version,
        updated_at=now,
        state=moved_to("claimed"),
        run=event.run,
        claim=event,
        locked_at=now,
        due_at=None,
    )


def _completed(job: Job, event: e.Completed, version: int, now: int) -> Job:
    # A rebuild calls this for every job. More than 14 keywords at once would be passed in a dictionary, which is slow.
    return replace(
        replace(job, version=version, updated_at=now),
        state=moved_to("completed"),
        attempts=job.attempts + 1,
        machine_losses=0,
        due_at=None,
        claim=None,
        locked_at=None,
        cancel_requested=None,
        finished_at=now,
        duration=event.duration,
        exit_code=0,
        last_error=None,
        cause=None,
        stdout=event.stdout,
        stderr=event.stderr,
    )


def _retry_scheduled(job: Job, event: e.RetryScheduled, version: int, now: int) -> Job:
    state = moved_to("retry_scheduled")
    waits = _waits(event, now, event.wait)
    return replace(job, version=version, updated_at=now, state=state, **waits, **_failed(job, event))


def _dead_lettered(job: Job, event: e.DeadLettered, version: int, now: int) -> Job:
    return replace(job, version=version, **_finished("dead_lettered", now), **_failed(job, event))


def _released(job: Job, event: e.Released, version: int, now: int) -> Job:
    state = moved_to("released")
    waits = _waits(event, now) if event.due_at is None else {"due_at": event.due_at}
    losses = event.machine_losses
    job = replace(job, version=version, updated_at=now, state=state, machine_losses=losses)
    return replace(job, **waits, **_UNLOCKED, **_output(event))


def _cancelled(job: Job, event: e.Cancelled, version: int, now: int) -> Job:
    output = _output(event) if event.run is not None else {}
    return replace(job, version=version, **_finished("cancelled", now), **_UNLOCKED, **output)


def _requeued(job: Job, event: e.Requeued, version: int, now: int) -> Job:
    job = replace(job, version=version, updated_at=now, state=moved_to("requeued"), finished_at=None)
    waits: _Changes = {"due_at": None, "waits_from": None} if job.is_waiting else _waits(event, now, event.delay)
    return replace(job, attempts=0, machine_losses=0, purged_from=None, **waits)


def _purged(job: Job, event: e.Purged, version: int, now: int) -> Job:
    return replace(job, version=version, updated_at=now, state=moved_to("purged"), purged_from=job.state)


def _dependencies_met(job: Job, event: e.DependenciesMet, version: int, now: int) -> Job:
    """Due at its time or after its delay, which counts from here."""
    if not job.is_waiting:
        return _noted(job, event, version, now)
    waits, at = _waits(event, now, job.spec.delay), job.spec.at
    if at is not None and at > waits["due_at"]:
        waits = {"due_at": at, "waits_from": None}
    return replace(job, version=version, updated_at=now, freed=True, **waits)


def _cancel_requested(job: Job, event: e.CancelRequested, version: int, now: int) -> Job:
    return replace(job, version=version, updated_at=now, cancel_requested=event.reason)


def _amended(job: Job, event: e.Amended, version: int, now: int) -> Job:
    spec = amended(job.spec, event.changes)
    freed = job.freed and event.changes.after is None
    job = replace(job, version=version, updated_at=now, spec=spec, original=job.promised, freed=freed)
    if job.is_waiting:
        return replace(job, due_at=None, waits_from=None)
    if job.state is not State.PENDING or not (job.due_at is None or reschedules(event.changes)):
        return job
    if spec.at is not None:
        return replace(job, due_at=spec.at, waits_from=None)
    return replace(job, **_waits(event, now, spec.delay))


def _noted(job: Job, event: e.Event, version: int, now: int) -> Job:
    return replace(job, version=version, updated_at=now)


_EVOLVE: dict[type[e.Event], Callable[[Job, Any, int, int], Job]] = dict.fromkeys(e.EVENT_TYPES, _noted) | {
    e.Claimed: _claimed,
    e.Completed: _completed,
    e.RetryScheduled: _retry_scheduled,
    e.DeadLettered: _dead_lettered,
    e.Released: _released,
    e.Cancelled: _cancelled,
    e.Requeued: _requeued,
    e.Purged: _purged,
    e.CancelRequested: _cancel_requested,
    e.Amended: _amended,
    e.DependenciesMet: _dependencies_met,
}


def _waits(event: e.Event, now: int, wait: int = 0) -> _Changes:
    """Pending again after `wait`, on the wall clock."""
    since = now if event.clock is None else event.clock
    return {"due_at": since + wait, "waits_from": since}


def _finished(event_type: str, now: int) -> _Changes:
    return {"state": moved_to(event_type), "updated_at": now, "due_at": None, "finished_at": now}


def _output(event: e.Completed | e.RetryScheduled | e.DeadLettered | e.Released | e.Cancelled) -> _Changes:
    return {"stdout": event.stdout, "stderr": event.stderr, "duration": event.duration}


def _failed(job: Job, event: e.RetryScheduled | e.DeadLettered) -> _Changes:
    from queuectl.domain.cause_text import exit_code_of, explain_cause  # most commands end no run

    return {
        **_UNLOCKED,
        **_output(event),
        "attempts": job.attempts + 1,
        "machine_losses": 0,
        "exit_code": exit_code_of(event.cause),
        "cause": event.cause,
        "last_error": explain_cause(event.cause, errors_of(job.spec, event)),
    }
