"""Commands and `decide`: the one pure rule (command, job, now) -> events, or a refusal.

The state machine validates every move. An empty list means that there is nothing to do: the job is already as asked.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from queuectl.domain import events as e
from queuectl.domain.amendment import changed_fields, reschedules
from queuectl.domain.job import Job, is_due, misdated_wait
from queuectl.domain.machine import State, allowed, target
from queuectl.errors import NoSuchJobError, RefusedError, command_line

__all__ = [
    "Amend",
    "Cancel",
    "Claim",
    "Claimant",
    "Command",
    "Enqueue",
    "Exit",
    "MachineLost",
    "Purge",
    "Release",
    "Report",
    "Requeue",
    "Unblock",
    "decide",
]


class Command(Struct, frozen=True, gc=False):
    """An intent towards one job."""

    job_id: str


class Enqueue(Command, frozen=True):
    """Add a job."""

    spec: e.Enqueued


class Claimant(Struct, frozen=True):
    """The process that claims a job, and its lease in microseconds. `uid` is the user that its jobs run as."""

    worker: str
    host: str
    boot_id: str
    pid: int
    pid_namespace: int
    pid_started_at: int
    lease: int
    uid: int | None = None

    def claimed(self, run: int, waited: int | None = None) -> e.Claimed:
        """The event of its claim for this run.

        `waited` is set if a clock that was ahead had recorded the job's wait: the microseconds that it has lasted.
        """
        return e.Claimed(
            run=run,
            worker=self.worker,
            host=self.host,
            boot_id=self.boot_id,
            pid=self.pid,
            pid_namespace=self.pid_namespace,
            pid_started_at=self.pid_started_at,
            lease=self.lease,
            uid=self.uid,
            waited=waited,
        )


class Claim(Command, frozen=True):
    """Take a pending job that is due. `behind_for`: see `is_due`."""

    claimant: Claimant
    behind_for: int | None = None


class Exit(Struct, frozen=True):
    """How a run ended. No cause means exit code 0. `duration` is microseconds; outputs are the last 4 KiB.

    `left_behind`: how many background processes of the run were ended with it.
    """

    cause: e.AnyCause | None = None
    duration: int = 0
    stdout: str = ""
    stderr: str = ""
    left_behind: int = 0


class Report(Command, frozen=True):
    """The result of a run; `jitter` is a random number in [0, 1) for the wait, used if the job has jitter."""

    run: int
    exit: Exit
    jitter: float = 0.0


class Release(Command, frozen=True):
    """A worker puts the job back in the queue without using up an attempt.

    `due_at` is set when the run has not started: when the job was due before it was claimed. So it keeps its place.
    """

    run: int
    reason: str
    exit: Exit = Exit()
    due_at: int | None = None


class MachineLost(Command, frozen=True):
    """A run ended with its machine: its worker is of an earlier boot. `free` such runs in a row cost no attempt."""

    run: int
    worker: str
    free: int
    exit: Exit = Exit()


class Cancel(Command, frozen=True):
    """Cancel a job: a pending one at once; a running one once its worker has stopped it."""

    reason: str = ""


class Requeue(Command, frozen=True):
    """Run a finished or purged job again, after `delay` (microseconds), and with `changes`, if there are any."""

    reason: str = ""
    delay: int = 0
    changes: e.Changes | None = None


class Amend(Command, frozen=True):
    """Change what a pending job was promised."""

    changes: e.Changes
    reason: str = ""


class Purge(Command, frozen=True):
    """Take a finished job out of the tables."""

    reason: str = ""


class Unblock(Command, frozen=True):
    """Start a job that waits for other jobs without waiting."""

    reason: str = ""


def decide(command: Command, job: Job | None, now: int, holder: str | None = None) -> list[e.Event]:
    """The events that carry the command out, at `now` on the wall clock (microseconds since the epoch).

    `holder` is another live job that has the unique key of this one.
    Raises RefusedError (the move is illegal, or the id or key is taken) or NoSuchJobError; then nothing is written.
    """
    if isinstance(command, Enqueue):
        return _enqueue(command, job, holder)
    if job is None:
        raise NoSuchJobError.of(command.job_id)
    if isinstance(command, Requeue):
        return _requeue(command, job, holder)
    return _RULES[type(command)](command, job, now)


def _enqueue(command: Enqueue, job: Job | None, holder: str | None) -> list[e.Event]:
    if job is not None and (fields := _differing(job.promised, command.spec)):
        show = "history" if job.state is State.PURGED else "show"
        what = f"the id {command.job_id} is taken by a job with a different {', '.join(fields)}"
        raise RefusedError(f"{what} (`{command_line(show, command.job_id)}`)")
    if job is not None or holder is not None:
        return []
    return [command.spec]


def _differing(one: e.Enqueued, other: e.Enqueued) -> list[str]:
    """The fields in which two jobs differ; their origins do not count."""
    fields = (name for name in one.__struct_fields__ if name != "origin")
    return [name for name in fields if getattr(one, name) != getattr(other, name)]


def _claim(command: Claim, job: Job, now: int) -> list[e.Event]:
    _check(job, "claim")
    if not is_due(job, now, command.behind_for):
        raise RefusedError(f"job {job.id} is not due yet")
    is_early = job.due_at is not None and job.due_at > now
    return [command.claimant.claimed(job.run + 1, command.behind_for if is_early else None)]


def _report(command: Report, job: Job, now: int) -> list[e.Event]:
    run, result = command.run, command.exit
    if _stale(job, run):
        if isinstance(result.cause, e.LostWorker):
            return []  # another worker has already freed the job, so no result was lost
        return [e.ResultRejected(run=run, outcome=_outcome(result), duration=result.duration)]
    if result.cause is None:
        _check(job, "complete")
        return [e.Completed(run=run, **_output(result))]
    if job.cancel_requested is not None:
        return _cancelled(job, job.cancel_requested, result)
    return _failed(job, command, result.cause)


def _failed(job: Job, command: Report, cause: e.AnyCause) -> list[e.Event]:
    output = _output(command.exit)
    if job.has_no_retry:
        _check(job, "bury")
        return [e.DeadLettered(run=command.run, cause=cause, **output)]
    _check(job, "retry")
    jitter = command.jitter if job.spec.jitter else None
    if isinstance(cause, e.LostWorker):
        return [e.RetryScheduled(run=command.run, cause=cause, wait=0, **output)]
    from queuectl.domain import backoff  # most commands end no run

    wait = backoff.wait(job.spec, job.attempts + 1, jitter)
    return [e.RetryScheduled(run=command.run, cause=cause, wait=wait, jitter=jitter, **output)]


def _release(command: Release, job: Job, now: int) -> list[e.Event]:
    if _stale(job, command.run):
        return [e.ResultRejected(run=command.run, outcome="released", duration=command.exit.duration)]
    if job.cancel_requested is not None:
        return _cancelled(job, job.cancel_requested, command.exit)
    _check(job, "release")
    return [e.Released(run=command.run, reason=command.reason, due_at=command.due_at, **_output(command.exit))]


def _machine_lost(command: MachineLost, job: Job, now: int) -> list[e.Event]:
    if _stale(job, command.run):
        return []  # another worker has freed it
    if job.cancel_requested is not None:
        return _cancelled(job, job.cancel_requested, command.exit)
    losses, end = job.machine_losses + 1, command.exit
    if losses > command.free:
        cause = e.LostWorker(command.worker)
        return _failed(job, Report(job.id, command.run, end), cause)
    _check(job, "release")
    return [e.Released(run=command.run, reason="its machine went down", machine_losses=losses, **_output(end))]


def _cancel(command: Cancel, job: Job, now: int) -> list[e.Event]:
    _check(job, "cancel")
    if job.state is not State.PROCESSING:
        return [e.Cancelled(reason=command.reason)]
    if job.cancel_requested is not None:
        return []
    return [e.CancelRequested(run=job.run, reason=command.reason)]


def _requeue(command: Requeue, job: Job, holder: str | None) -> list[e.Event]:
    _check(job, "requeue")
    if holder is not None:
        raise RefusedError(f"job {job.id}: its unique key is held by the live job {holder}")
    requeued = e.Requeued(reason=command.reason, delay=command.delay)
    return [*_changing(job, command.changes, command.reason), requeued]


def _amend(command: Amend, job: Job, now: int) -> list[e.Event]:
    if job.state is not State.PENDING:
        advice = (
            f"cancel it, or `{command_line('retry', job.id, '--set', 'FIELD=VALUE')}` when it has ended"
            if job.state is State.PROCESSING
            else f"`{command_line('retry', job.id, '--set', 'FIELD=VALUE')}` changes it and runs it again"
        )
        raise RefusedError(f"job {job.id} is {job.state}: only a pending job can be edited ({advice})")
    return _changing(job, _with_due_time(job, command.changes, now), command.reason)


def _with_due_time(job: Job, changes: e.Changes, now: int) -> e.Changes:
    """The changes with the due time that follows from new dependencies, unless they set one.

    A job that has to wait keeps its due time. One that need not wait any more is due as if it were freed now.
    """
    if changes.after == job.spec.after and not job.freed:
        return replace(changes, after=None)
    if changes.after is None or reschedules(changes):
        return changes
    if job.is_waiting:
        return changes if changes.after else replace(changes, delay=job.spec.delay, at=job.spec.at)
    if job.due_at is None or not changes.after or (job.due_at <= now and not job.spec.delay):
        return changes
    wait = misdated_wait(job, now)
    return replace(changes, delay=0, at=job.due_at if wait is None else now + wait)


def _changing(job: Job, changes: e.Changes | None, reason: str) -> list[e.Event]:
    if changes is None or not changed_fields(job.spec, changes):
        return []
    return [e.Amended(changes=changes, reason=reason)]


def _purge(command: Purge, job: Job, now: int) -> list[e.Event]:
    _check(job, "purge")
    return [e.Purged(reason=command.reason)]


def _unblock(command: Unblock, job: Job, now: int) -> list[e.Event]:
    if not job.is_waiting:
        raise RefusedError(f"job {job.id} is {job.state} and waits for no other job")
    return [e.DependenciesMet(forced=True, reason=command.reason)]


_RULES: dict[type[Command], Callable[[Any, Job, int], list[e.Event]]] = {
    Claim: _claim,
    Report: _report,
    Release: _release,
    MachineLost: _machine_lost,
    Cancel: _cancel,
    Purge: _purge,
    Amend: _amend,
    Unblock: _unblock,
}

_VERBS = {"requeue": "retry"}
"""The command of a move, where its name differs from the move's."""
_PARTICIPLES = {"cancel": "cancelled", "requeue": "retried", "purge": "purged"}


def _check(job: Job, trigger: str) -> None:
    """Raise RefusedError if the move is not allowed from the job's state."""
    if target(job.state, trigger) is None:
        choices = " or ".join(_PARTICIPLES[each] for each in allowed(job.state) if each in _PARTICIPLES)
        what = f"cannot {_VERBS.get(trigger, trigger)} it, a {job.state} job can only be {choices}"
        raise RefusedError(f"job {job.id} is {job.state}: {what}")


def _stale(job: Job, run: int) -> bool:
    """The fence: only the current run of a job that is being processed may report."""
    return job.claim is None or job.run != run


def _cancelled(job: Job, reason: str, result: Exit) -> list[e.Event]:
    _check(job, "cancel")
    return [e.Cancelled(reason=reason, run=job.run, **_output(result))]


def _output(result: Exit) -> dict[str, Any]:
    return {
        "duration": result.duration,
        "stdout": result.stdout,
        "stderr": result.stderr,
        "left_behind": result.left_behind,
    }


def _outcome(result: Exit) -> str:
    """`completed`, or the kind of the failure's cause."""
    return "completed" if result.cause is None else str(result.cause.__struct_config__.tag)
