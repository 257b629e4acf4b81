"""A job's life in words: what happened, why, and the arithmetic of its waits. From recorded facts alone."""

from queuectl.domain import backoff
from queuectl.domain import events as e
from queuectl.domain.job import Job, explain_cause
from queuectl.domain.names import PAUSE_ALL
from queuectl.units import counted, format_duration, local_time

__all__ = ["pause_sentence", "queue_name", "summary", "tell"]


def tell(record: e.RecordedEvent, before: Job | None) -> list[str]:
    """What one event says, a headline and the details under it; `before` is the job as it stood."""
    match record.event:
        case e.Enqueued() as event:
            return ["enqueued", *_promise(event)]
        case e.RetryScheduled() as event:
            return [
                _attempt(event, before),
                *_lost_before(event, before),
                *_left(event),
                _wait(event, before, record.clock),
            ]
        case e.DeadLettered() as event:
            return [
                _attempt(event, before),
                *_lost_before(event, before),
                *_left(event),
                "no retry is left: moved to the dead-letter queue",
            ]
        case e.Claimed() | e.Completed() | e.Released() | e.ResultRejected():
            return _run(record.event)
        case e.Cancelled() as event:
            return [_asked(record), _reason(event.reason), *_left(event)]
    return [_asked(record), _reason(getattr(record.event, "reason", ""))]


def summary(record: e.RecordedEvent) -> str:
    """What one event says, in a few words."""
    match record.event:
        case e.Enqueued(command=command):
            return f"$ {command}"
        case e.SettingChanged(key=key, value=value):
            return f"{key} is unset" if value is None else f"{key} is {value}"
        case e.BatchOpened(jobs=jobs, template=template):
            return f"{counted(jobs, 'job')}: {template}" if template else counted(jobs, "job")
    return tell(record, None)[0]


def queue_name(queue: str) -> str:
    """A queue's name in a sentence; `*` stands for all of them."""
    return "every queue" if queue == PAUSE_ALL else f"queue {queue}"


def pause_sentence(queue: str, since: str, by: str) -> str:
    """Which queue is paused, since when, by whom."""
    return f"{queue_name(queue)} is paused since {since} by {by}"


def _run(event: e.Event) -> list[str]:
    match event:
        case e.Claimed(run=run, worker=worker, host=host, pid=pid, lease=lease):
            return [f"claimed for run {run}", f"worker {worker} (pid {pid} on {host}), lease {format_duration(lease)}"]
        case e.Completed(run=run, duration=duration):
            return [f"completed: run {run} exited with code 0 after {_took(duration)}", *_left(event)]
        case e.Released():
            return _released(event)
        case e.ResultRejected(run=run, outcome=outcome):
            return [f"result rejected: run {run} ({outcome}) is not the current run", "it changed nothing"]
    return []


def _released(event: e.Released) -> list[str]:
    run, losses = event.run, event.machine_losses
    if losses:
        return [f"released: run {run} was lost with its machine, it does not count ({losses} in a row)"]
    if event.due_at is not None:
        return [f"given back: run {run} had not started, it does not count", event.reason, "it keeps its place in line"]
    return [f"released: run {run} was ended{_after(event.duration)}, it does not count", event.reason, *_left(event)]


def _left(event: e.Completed | e.RetryScheduled | e.DeadLettered | e.Released | e.Cancelled) -> list[str]:
    """The processes that were ended with the command."""
    count = event.left_behind
    return [f"it left {count} process{'' if count == 1 else 'es'} in the background, ended with it"] if count else []


def _lost_before(event: e.RetryScheduled | e.DeadLettered, before: Job | None) -> list[str]:
    """Why a loss counts: those with the machine before it did not."""
    losses = before.machine_losses if before else 0
    if not losses or not isinstance(event.cause, e.LostWorker):
        return []
    runs = "the run before it was lost with its" if losses == 1 else f"the {losses} runs before it were lost with their"
    return [f"it counts: {runs} machine and did not"]


def _asked(record: e.RecordedEvent) -> str:
    match record.event:
        case e.Cancelled(run=None):
            return "cancelled before it ran"
        case e.Cancelled(run=run, duration=duration):
            return f"cancelled: run {run} was ended{_after(duration)}"
        case e.CancelRequested(run=run):
            return f"cancel requested while run {run} was on"
        case e.Requeued():
            return "requeued: pending again, attempts at 0"
        case e.Purged():
            return "purged from the tables, this log keeps its history"
    return record.type.replace("_", " ")


def _promise(spec: e.Enqueued) -> list[str]:
    retries = {0: "no retry", 1: "at most 1 retry"}.get(spec.max_retries, f"at most {spec.max_retries} retries")
    policy = f"{retries}, waits {backoff.plain(spec.backoff_base)}^n s up to {format_duration(spec.backoff_cap)}"
    details = [f"$ {spec.command}", f"in {spec.cwd}; queue {spec.queue}, priority {spec.priority}; {policy}"]
    if spec.timeout is not None:
        details.append(f"each attempt may take {format_duration(spec.timeout)}")
    if spec.at is not None:
        details.append(f"not before {local_time(spec.at)}")
    if spec.delay:
        details.append(f"not before {format_duration(spec.delay)} have passed")
    if spec.unique is not None:
        details.append(f"unique key {spec.unique}")
    if spec.batch is not None:
        details.append(f"batch {spec.batch}{f', number {spec.seq}' if spec.seq else ''}")
    return details


def _attempt(event: e.RetryScheduled | e.DeadLettered, before: Job | None) -> str:
    total = f" of {before.spec.max_retries + 1}" if before else ""
    number = before.attempts + 1 if before else event.run
    took = _after(event.duration)
    return f"attempt {number}{total} (run {event.run}) failed{took}: {explain_cause(event.cause, event.stderr)}"


def _wait(event: e.RetryScheduled, before: Job | None, now: int) -> str:
    if isinstance(event.cause, e.LostWorker):
        return "a lost worker's job is retried at once"
    until = local_time(now + event.wait)
    if before is None:
        return f"next attempt in {format_duration(event.wait)}, at {until}"
    return f"next attempt in {backoff.explain(before.spec, before.attempts + 1, event.jitter)}, at {until}"


def _reason(reason: str) -> str:
    return f"reason: {reason}" if reason else ""


def _after(duration: int) -> str:
    """Nothing where it is not known: whoever freed a lost job did not see it begin."""
    return f" after {_took(duration)}" if duration else ""


def _took(duration: int) -> str:
    """A duration as people say it: not more precise than it is interesting."""
    return f"{duration / 1000:.0f} ms" if duration < 1_000_000 else f"{duration / 1_000_000:.1f} s"
