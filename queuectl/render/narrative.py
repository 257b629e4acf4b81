"""An event in words: what happened, why, and how the wait for a retry was calculated. Uses recorded facts alone."""

from queuectl.domain import backoff
from queuectl.domain import events as e
from queuectl.domain.backoff import plain
from queuectl.domain.cause_text import retry_in, short_cause
from queuectl.domain.dependencies import describe
from queuectl.domain.job import Job, errors_of
from queuectl.domain.names import PAUSE_ALL, SCHEDULES
from queuectl.render.amendments import amendments
from queuectl.render.schedule_text import schedule_event
from queuectl.units import SECOND, counted, format_duration, local_time, rounded_duration

__all__ = ["because_of", "pause_sentence", "queue_name", "summary", "tell"]


def tell(record: e.RecordedEvent, before: Job | None) -> list[str]:
    """One event as a headline and lines of detail; `before` is the job as it was before the event."""
    match record.event:
        case e.Enqueued() as event:
            return ["enqueued", *_promise(event)]
        case e.RetryScheduled() as event:
            wait = _wait(event, before, record.clock)
            return [
                _failed(event, before),
                *_lost_before(event, before),
                *_left(event),
                f"{_attempt(before)}retry {wait}",
            ]
        case e.DeadLettered() as event:
            fate = "no retries left, moved to the dead-letter queue"
            return [*_failure(event, before), f"{_attempt(before)}{fate}"]
        case e.Claimed() | e.Completed() | e.Released() | e.ResultRejected():
            return _run(record.event)
    if record.stream_id.startswith(SCHEDULES):
        return [schedule_event(record.event)]
    return _by_people(record, before)


def _by_people(record: e.RecordedEvent, before: Job | None) -> list[str]:
    reason = getattr(record.event, "reason", "")
    if isinstance(record.event, e.Amended):
        by = f"by {record.actor.partition('@')[0]}"
        return [f"{amendments(record.event.changes, before)}, {by}{f': {reason}' if reason else ''}"]
    if isinstance(record.event, e.DependenciesMet):
        return [*_met(record.event, before), _reason(reason)]
    return [_asked(record), *_delay(record.event), _reason(reason), because_of(record.event), *_left(record.event)]


def summary(record: e.RecordedEvent) -> str:
    """One event in a few words."""
    match record.event:
        case e.Enqueued(command=command):
            return f"$ {command}"
        case e.Amended(changes=changes, reason=reason):
            return f"{amendments(changes, None)}{f': {reason}' if reason else ''}"
        case e.SettingChanged(key=key, value=value):
            return f"{key} unset" if value is None else f"{key} set to {value}"
        case e.BatchOpened(jobs=jobs, template=template, max_failures=limit):
            most = "" if limit is None else f", at most {counted(limit, 'failure')}"
            return f"{counted(jobs, 'job')}{most}{f': {template}' if template else ''}"
        case e.RetryScheduled() | e.DeadLettered() as event:
            fate = retry_in(event.wait) if isinstance(event, e.RetryScheduled) else "no retries left: dead"
            return f"{_failed(event, None)}, {fate}"
    return tell(record, None)[0]


def because_of(event: e.Event) -> str:
    """`because of event #13` for a cancellation that followed from that event, else nothing."""
    return f"because of event #{event.by}" if isinstance(event, e.Cancelled) and event.by else ""


def queue_name(queue: str) -> str:
    """A queue's name in a sentence; `*` stands for all of them."""
    return "every queue" if queue == PAUSE_ALL else f"queue {queue}"


def pause_sentence(queue: str, since: str, by: str) -> str:
    """A sentence that says which queue is paused, since when, and by whom."""
    return f"{queue_name(queue)} is paused since {since} by {by}"


def _run(event: e.Event) -> list[str]:
    match event:
        case e.Claimed(run=run, worker=worker, host=host, pid=pid, lease=lease):
            return [f"claimed for run {run}", f"worker {worker} (pid {pid} on {host}), lease {format_duration(lease)}"]
        case e.Completed(run=run, duration=duration):
            return [f"run {run} completed after {rounded_duration(duration)} (exit 0)", *_left(event)]
        case e.Released():
            return _released(event)
        case e.ResultRejected(run=run, outcome=outcome):
            return [f"result of run {run} ({outcome}) rejected: it is not the current run", "nothing was changed"]
    return []


def _released(event: e.Released) -> list[str]:
    run, losses = event.run, event.machine_losses
    if losses:
        return [f"run {run} was lost with its machine and does not count ({losses} in a row)"]
    if event.due_at is not None:
        headline = f"run {run} was put back before it started and does not count"
        return [headline, event.reason, "it keeps its place in line"]
    return [f"run {run} was stopped{_after(event.duration)} and does not count", event.reason, *_left(event)]


def _delay(event: e.Event) -> list[str]:
    delay = event.delay if isinstance(event, e.Requeued) else 0
    return [f"not before {format_duration(delay)} after that"] if delay else []


def _left(event: e.Event) -> list[str]:
    """The background processes that were killed when the command ended."""
    count = getattr(event, "left_behind", 0)
    return [f"killed {count} background process{'' if count == 1 else 'es'} that it left"] if count else []


def _lost_before(event: e.RetryScheduled | e.DeadLettered, before: Job | None) -> list[str]:
    """Why a loss counts: those with the machine before it did not."""
    losses = before.machine_losses if before else 0
    if not losses or not isinstance(event.cause, e.LostWorker):
        return []
    runs = "the run before it was lost with its" if losses == 1 else f"the {losses} runs before it were lost with their"
    return [f"it counts: {runs} machine and did not"]


def _met(event: e.DependenciesMet, before: Job | None) -> list[str]:
    edges = describe(before.spec.after) if before else "others"
    if event.forced:
        return [f"started without waiting for {edges}"]
    last = f"the last of them by event #{event.by}" if event.by else "it did not have to wait"
    return ["freed: what it waited for has ended", f"met: {edges}; {last}"]


def _asked(record: e.RecordedEvent) -> str:
    match record.event:
        case e.Cancelled(run=None):
            return "cancelled before it ran"
        case e.Cancelled(run=run, duration=duration):
            return f"cancelled: run {run} was stopped{_after(duration)}"
        case e.CancelRequested(run=run):
            return f"cancel requested during run {run}"
        case e.Requeued():
            return "requeued: pending again, with 0 attempts"
        case e.Purged():
            return "purged from the tables; the log keeps its history"
    return record.type.replace("_", " ")


def _promise(spec: e.Enqueued) -> list[str]:
    details = [f"$ {spec.command}", f"in {spec.cwd}; queue {spec.queue}, priority {spec.priority}; {_policy(spec)}"]
    if spec.timeout is not None:
        details.append(f"timeout {format_duration(spec.timeout)} for each attempt")
    if spec.at is not None:
        details.append(f"not before {local_time(spec.at)}")
    if spec.delay:
        details.append(f"not before {format_duration(spec.delay)} after it was added")
    if spec.stdin is not None:
        details.append(f"stdin from {spec.stdin.path} (sha256 {spec.stdin.sha256})")
    if spec.unique is not None:
        details.append(f"unique key {spec.unique}")
    if spec.batch is not None:
        details.append(f"batch {spec.batch}{f', number {spec.seq}' if spec.seq else ''}")
    if spec.after:
        details.append(f"waits for {describe(spec.after)}; if that can no longer happen: {spec.if_unmet}")
    if spec.origin is not None:
        details.append(_origin(spec.origin))
    return details


def _origin(origin: e.Origin) -> str:
    where = "" if origin.position is None else f" (#{origin.position})"
    by = "copy of" if origin.kind == "copy" else f"added by {origin.kind}"
    return f"{' '.join(filter(None, (by, origin.name)))}{where}"


def _policy(spec: e.Enqueued) -> str:
    if spec.max_retries == 0:
        return "no retries"
    retries = "1 retry" if spec.max_retries == 1 else f"{spec.max_retries} retries"
    return f"at most {retries}, {_waits(spec)}{', each wait times a random factor' if spec.jitter else ''}"


def _waits(spec: e.Enqueued) -> str:
    if spec.retry_wait is not None:
        return f"each after {format_duration(spec.retry_wait)}"
    if spec.backoff_base == 1:
        return f"each after {format_duration(min(SECOND, spec.backoff_cap))}"
    return f"the n-th after {plain(spec.backoff_base)}^n s (longest {format_duration(spec.backoff_cap)})"


def _failure(event: e.RetryScheduled | e.DeadLettered, before: Job | None) -> list[str]:
    return [_failed(event, before), *_lost_before(event, before), *_left(event)]


def _failed(event: e.RetryScheduled | e.DeadLettered, before: Job | None) -> str:
    errors = errors_of(before.spec, event) if before else event.stderr
    return f"run {event.run} failed{_after(event.duration)} ({short_cause(event.cause, errors)})"


def _attempt(before: Job | None) -> str:
    return f"attempt {before.attempts + 1} of {before.spec.max_retries + 1}: " if before else ""


def _wait(event: e.RetryScheduled, before: Job | None, now: int) -> str:
    if isinstance(event.cause, e.LostWorker):
        return "at once, because the worker was lost"
    until = local_time(now + event.wait)
    if before is None:
        return f"in {format_duration(event.wait)}, at {until}"
    return f"in {backoff.explain(before.spec, before.attempts + 1, event.jitter)}, at {until}"


def _reason(reason: str) -> str:
    return f"reason: {reason}" if reason else ""


def _after(duration: int) -> str:
    """How long the run took; empty for a lost run, whose start nobody else saw."""
    return f" after {rounded_duration(duration)}" if duration else ""
