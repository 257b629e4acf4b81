"""Explains a job's state: the events that led to it, what the job waits for, and the commands that change it."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from signal import SIGKILL

from msgspec import Struct

from queuectl.application.late_starts import late_start
from queuectl.application.liveness import is_alive
from queuectl.application.waiting import batches_left, held_sentence, open_sentence, remedies
from queuectl.domain import events as e
from queuectl.domain.causes import Exited, Signalled
from queuectl.domain.job import Job, evolve, is_due
from queuectl.domain.machine import LIVE, MOVES, State
from queuectl.domain.names import PAUSE_ALL
from queuectl.errors import NoSuchJobError, command_line, runnable
from queuectl.render.narrative import because_of, summary, tell
from queuectl.store.errors import DamagedEventError
from queuectl.store.protocol import Store
from queuectl.store.rows import WorkerRow
from queuectl.units import SECOND, ago, format_duration, local_time, short_duration

__all__ = ["Explanation", "explain"]

LINE = 1000
"""The most jobs that are looked through for a job's place in the claiming order."""

KILLED = "no worker sent this SIGKILL: the memory may have been used up (`journalctl -k --grep 'killed process'`)"
"""A possible cause for a command that was killed from outside."""

_MOVES = {"enqueued", *(move.event for move in MOVES)}


class Explanation(Struct, frozen=True):
    """A job's state, sentences that say why, and commands that change it. `position` is that of the deciding event."""

    id: str
    state: str
    position: int
    why: tuple[str, ...]
    next: tuple[str, ...]


def explain(store: Store, job_id: str, *, live: bool, machine_losses: int) -> Explanation:
    """The explanation. `live`: the store is the present, so workers are known. Raises NoSuchJobError.

    `machine_losses`: how many runs in a row may be lost with their machine without costing an attempt.
    """
    job: Job | None = None
    loss: e.RecordedEvent | None = None
    facts: list[str] = []
    position = 0
    for record in store.log.examined(stream_id=job_id):
        if isinstance(record, DamagedEventError):
            return _set_aside(job_id, job, facts, record)
        if record.type in _MOVES:
            position = record.position
            facts = facts if _ended_on_request(record.event) else []
        facts += _sentences_of(store, record, job)
        job = evolve(job, record)
        loss = record if isinstance(record.event, e.Released) and record.event.machine_losses else loss
    if job is None:
        raise NoSuchJobError.of(job_id)
    made_by = _schedule(store, job)
    why = dict.fromkeys([*facts, *made_by, *_losses(job, loss, machine_losses), *_situation(store, job, live)])
    return Explanation(job_id, job.state, position, tuple(why), tuple(_commands(store, job, live)))


def _schedule(store: Store, job: Job) -> Iterator[str]:
    """The schedule that made the job, and its slots that pass while the job is live."""
    origin = job.spec.origin
    if origin is None or origin.kind != "schedule" or origin.slot is None:
        return
    yield f"schedule {origin.name} made it for {local_time(origin.slot)}"
    schedule = store.schedules.named(origin.name)
    if schedule is None or job.state not in LIVE or schedule.definition.overlap != "skip":
        return
    late = schedule.late_by(store.log.wall())
    if late is not None:
        passed = f"the times of the schedule since {local_time(schedule.next_at or 0)} are skipped"
        yield f"{passed}, because it is not over (--overlap skip)"


def _set_aside(job_id: str, job: Job | None, facts: Sequence[str], damage: DamagedEventError) -> Explanation:
    """The story up to the first damaged event. No worker runs the job until that is repaired."""
    why = (*facts, str(damage), "the job is quarantined: no worker claims it, and its later events are not known")
    state = "damaged" if job is None else job.state
    return Explanation(job_id, state, damage.position, why, (runnable(damage.remedy), command_line("history", job_id)))


def _ended_on_request(event: e.Event) -> bool:
    """Whether a worker cancelled the running job on request. Then the request is the reason."""
    return isinstance(event, e.Cancelled) and event.run is not None


def _sentences_of(store: Store, record: e.RecordedEvent, before: Job | None) -> list[str]:
    headline, *details = tell(record, before)
    if record.type == "enqueued":
        details = [detail for detail in details if detail.startswith("not before")]
    elif cause := because_of(record.event):
        details[details.index(cause)] = f"{cause}{_other_event(store, getattr(record.event, 'by', 0))}"
    elif _was_killed(record.event):
        details.append(KILLED)
    return [f"{headline}, at {local_time(record.recorded_at)} by {record.actor}", *filter(None, details)]


def _other_event(store: Store, position: int) -> str:
    """`, grid.2: run 1 failed (exit 2), retry in 2s`; nothing if that event is damaged."""
    with suppress(DamagedEventError):
        for record in store.log.records(after=position - 1, until=position):
            return f", {record.stream_id}: {summary(record)}"
    return ""


def _was_killed(event: e.Event) -> bool:
    """Whether a SIGKILL that no worker sent ended the command, or its last process (a shell exits with 137 then)."""
    cause = getattr(event, "cause", None)
    return (isinstance(cause, Signalled) and cause.signal == SIGKILL) or (
        isinstance(cause, Exited) and cause.code == 128 + SIGKILL
    )


def _losses(job: Job, loss: e.RecordedEvent | None, limit: int) -> Iterator[str]:
    """How often in a row the job was lost with its machine, and how often that costs no attempt."""
    if job.machine_losses and loss and isinstance(loss.event, e.Released):
        row = f"{job.machine_losses} in a row, and up to {limit} cost no attempt (setting max-machine-losses)"
        ends = ": the next one does" if job.machine_losses >= limit else ""
        yield f"run {loss.event.run} was lost with its machine at {local_time(loss.recorded_at)}: {row}{ends}"


# ── what it waits for ───────────────────────────────────────────────────────────────────────────────────


def _situation(store: Store, job: Job, live: bool) -> Iterator[str]:
    if job.state is State.PENDING:
        yield from _waiting(store, job)
        if live:
            yield _serving(job, [row for row in store.workers.rows() if is_alive(store, row) is not False])
    elif job.claim is not None:
        yield from _running(store, job, job.claim, live)


def _waiting(store: Store, job: Job) -> Iterator[str]:
    now, row = store.log.wall(), store.tables.job(job.id)
    behind_for = store.log.behind_for()
    if job.is_waiting:
        yield from _dependencies(store, job)
        return
    if row is not None and row["due_at"] is None:
        yield "it is held: its table row and its events disagree"
    elif (start := late_start(store, job, now, behind_for)) is not None:
        yield _misdated(job.waits_from or now, now, start)
    elif job.due_at is not None and job.due_at > now:
        yield f"it is due at {local_time(job.due_at)}, in {short_duration(job.due_at - now)}"
    else:
        yield f"it has been due since {local_time(job.due_at or now)}"
    for queue, pause in _pauses(store, job).items():
        name = "every queue" if queue == PAUSE_ALL else f"its queue {queue}"
        yield f"{name} is paused since {local_time(pause['paused_at'] * SECOND)} by {pause['paused_by']}"
    yield from _place_in_line(store, job, now, behind_for)


def _dependencies(store: Store, job: Job) -> Iterator[str]:
    rows = store.waits.dependencies(job.id)
    yield open_sentence(rows)
    yield from batches_left(store, rows)
    if why := held_sentence(store, rows):
        yield f"it is held: {why}"


def _misdated(since: int, now: int, start: int) -> str:
    return (
        f"it was recorded by a clock that was {ago(since - now)} ahead of the clock now, so its wait counts from when"
        f" the clock was right again: {short_duration(start - now)} more"
    )


def _pauses(store: Store, job: Job) -> dict[str, dict[str, int]]:
    """The pauses that apply to the job's queue."""
    return {queue: pause for queue, pause in store.tables.pauses().items() if queue in (PAUSE_ALL, job.spec.queue)}


def _place_in_line(store: Store, job: Job, now: int, behind_for: int | None) -> Iterator[str]:
    line = store.tables.claimable((), LINE, now, behind_for=behind_for)
    if job.id in line:
        place = line.index(job.id)
        before = {0: "it is next", 1: "1 job is before it"}.get(place, f"{place} jobs are before it")
    elif is_due(job, now, store.tables.waited(job, now, behind_for)) and not _pauses(store, job) and len(line) == LINE:
        before = f"at least {LINE} jobs are before it"
    else:
        return
    yield f"{before} (order: priority, here {job.spec.priority}; then due time; then time of enqueueing)"


def _serving(job: Job, workers: Sequence[WorkerRow]) -> str:
    serving = [each for each in workers if each.slots and (not each.queues or job.spec.queue in each.queues)]
    if not serving:
        return f"no worker serves queue {job.spec.queue}: `{command_line('run')}` starts one"
    names = ", ".join(f"{worker.name} ({worker.running} of {worker.slots} slots busy)" for worker in serving)
    return f"queue {job.spec.queue} is served by {names}"


def _running(store: Store, job: Job, claim: e.Claimed, live: bool) -> Iterator[str]:
    now = store.log.wall()
    since = claim.clock or job.locked_at or now
    yield f"attempt {job.attempts + 1} of {job.spec.max_retries + 1} has been running for {short_duration(now - since)}"
    if job.spec.timeout is not None:
        yield f"its timeout is {format_duration(job.spec.timeout)}"
    if live:
        yield f"worker {claim.worker} {_heartbeat(store, claim, now)}"


def _heartbeat(store: Store, claim: e.Claimed, now: int) -> str:
    beat = next((row.last_heartbeat for row in store.workers.rows() if row.name == claim.worker), None)
    if _is_dead(store, claim):
        return "is dead: the next worker that runs frees the job"
    if beat is None:
        return "is no longer listed: the next worker that runs frees the job"
    return f"sent its last heartbeat {ago(now - beat * SECOND)} ago"


def _is_dead(store: Store, claim: e.Claimed) -> bool:
    return is_alive(store, claim) is False


# ── what one can do ─────────────────────────────────────────────────────────────────────────────────────


def _commands(store: Store, job: Job, live: bool) -> Iterator[str]:
    if job.state is State.PENDING:
        if job.is_waiting:
            rows = store.waits.dependencies(job.id)
            yield from remedies(store, job.id, rows)
        for queue in _pauses(store, job):
            yield command_line("resume", *([] if queue == PAUSE_ALL else [queue]))
        yield command_line("cancel", job.id)
    elif job.state is State.PROCESSING:
        yield command_line("logs", "-f", job.id)
        if live and job.claim is not None and _is_dead(store, job.claim):
            yield command_line("run")
        if job.cancel_requested is None:
            yield command_line("cancel", job.id)
    else:
        if job.run and job.state is not State.PURGED:
            yield command_line("logs", job.id)
        yield command_line("retry", job.id)
