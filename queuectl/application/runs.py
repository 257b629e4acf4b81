"""The runs in a part of the log: how long each job waited, how long its run took, and how it ended."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from queuectl.domain import events as e
from queuectl.store.protocol import History
from queuectl.store.rows import RunStep
from queuectl.units import SECOND

__all__ = ["CLAIMED", "COMPLETED", "DEAD", "OUTCOMES", "RETRIED", "Run", "runs", "slots"]

CLAIMED, FREED = e.type_of(e.Claimed), e.type_of(e.DependenciesMet)
COMPLETED, RETRIED, DEAD = e.type_of(e.Completed), e.type_of(e.RetryScheduled), e.type_of(e.DeadLettered)
FIRED, SKIPPED = e.type_of(e.ScheduleFired), e.type_of(e.ScheduleSkipped)
OUTCOMES = (COMPLETED, RETRIED, DEAD, e.type_of(e.Released), e.type_of(e.Cancelled))
"""The types of the events that end a run."""


class Run(NamedTuple):
    """The begin of a run (CLAIMED) or its end (one of OUTCOMES). `at` is microseconds, durations are seconds.

    `worker` and `waited` (since the job was due) are set at the begin, `took` at the end; it is 0 when
    nobody saw how long.
    """

    position: int
    job_id: str
    type: str
    at: int
    queue: str
    command: str
    worker: str
    waited: float
    took: float


class _Data(msgspec.Struct):
    """The fields of these events that concern queues and times."""

    queue: str = ""
    command: str = ""
    worker: str = ""
    run: int | None = None
    duration: int = 0
    clock: int | None = None
    delay: int = 0
    at: int | None = None
    wait: int = 0
    due_at: int | None = None
    changes: "_Data | None" = None
    manual: bool = False
    count: int = 1


_decode = msgspec.json.Decoder(_Data).decode
_NOTHING = _Data()


def runs(history: History, after: int, until: int) -> Iterator[Run]:
    """Begins and ends of runs with `after < position <= until`, in order. Data that cannot be read is empty."""
    for step in history.run_steps((CLAIMED, *OUTCOMES), after=after, until=until):
        data = _data(step.data)
        if data.run is not None:  # a job that is cancelled before it ran has none
            queue, command = _promise(step)
            waited = _waited(step) if step.type == CLAIMED else 0
            yield Run(
                step.position,
                step.job_id,
                step.type,
                step.recorded_at,
                queue,
                command,
                data.worker,
                waited / SECOND,
                data.duration / SECOND,
            )


def slots(history: History, after: int, until: int) -> Iterator[tuple[str, str, int]]:
    """(schedule, `fired` or `skipped`, how many slots) of the decisions on slots; no jobs that were added by hand."""
    for step in history.run_steps((FIRED, SKIPPED), after=after, until=until):
        data, name = _data(step.data), step.job_id.partition(":")[2]
        if step.type == SKIPPED:
            yield name, "skipped", data.count
        elif not data.manual:
            yield name, "fired", 1


def _promise(step: RunStep) -> tuple[str, str]:
    """The queue and the command of the job at this event: those of its first event, or of the last edit of each."""
    spec = _data(step.spec)
    queue, command = spec.queue, spec.command
    for edit in map(_data, step.edits):
        changes = edit.changes or _NOTHING
        queue, command = changes.queue or queue, changes.command or command
    return queue, command


def _waited(step: RunStep) -> int:
    """Microseconds from the moment when the job was due to its claim."""
    if step.before_at is None:
        return 0
    before = _data(step.before)
    since = step.before_at if before.clock is None else before.clock
    claimed_at = _data(step.data).clock or step.recorded_at
    if step.before_type == FREED:
        spec = _data(step.spec)
        return max(0, claimed_at - max(since + spec.delay, spec.at or 0))
    before = before.changes or before
    due_at = before.at if before.due_at is None else before.due_at
    return max(0, claimed_at - (since + before.delay + before.wait if due_at is None else due_at))


def _data(text: str | None) -> _Data:
    try:
        return _decode(text or "{}")
    except (msgspec.MsgspecError, UnicodeError):
        return _NOTHING
