"""Checks each event: it can be read, has the right version of its stream, and was a legal move at that time."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from queuectl.checks.report import Report
from queuectl.domain import events as e
from queuectl.domain.events import RecordedEvent, type_of
from queuectl.domain.job import Job
from queuectl.domain.machine import MOVES, State, target
from queuectl.domain.names import SCHEDULES, SETTINGS_STREAM, batch_stream, is_id, queue_stream, worker_stream
from queuectl.store.stream_fold import Examined, Stream

__all__ = ["EVERY", "StreamCheck"]

EVERY = 1000
"""Events between two calls of `progress`."""

_NOTES = (e.CancelRequested, e.ResultRejected, e.DependenciesMet)
_RUNS = (e.Completed, e.RetryScheduled, e.DeadLettered, e.Released, e.CancelRequested)
_OURS = {
    SETTINGS_STREAM: (e.SettingChanged,),
    queue_stream(""): (e.QueuePaused, e.QueueResumed),
    worker_stream(""): (e.WorkerStarted, e.WorkerStopped, e.WorkerLost),
    batch_stream(""): (e.BatchOpened,),
    SCHEDULES: (
        *(e.ScheduleSet, e.SchedulePaused, e.ScheduleResumed, e.ScheduleRemoved),
        *(e.ScheduleFired, e.ScheduleSkipped),
    ),
}


class StreamCheck:
    """Pass every event, stream by stream, to `inspect` just before it is folded. `events` counts those up to the head.

    `inspect` runs for every event of the log, so it handles sound events itself and leaves the rest to other methods.
    """

    def __init__(self, report: Report, progress: Callable[[int], None] = lambda done: None) -> None:
        self._report, self._progress = report, progress
        self._last, self.events = report.head.position, 0
        self._rules = _rules()
        self._job_id = ""
        self._version = self._position = 0

    def inspect(self, stream: Stream, found: Examined) -> None:
        """Check the next event of a stream. Moves after a damaged event in a job's stream are not checked."""
        if found.position <= self._last:
            self.events += 1
            if not self.events % EVERY:
                self._progress(self.events)
        if type(found) is not RecordedEvent or stream.damage is not None or found.version != stream.version + 1:
            self._inspect_doubtful(stream, found)
            return
        rule, job = self._rules.get(type(found.event)), stream.job
        if rule is None or job is None or job.state not in rule.sources or stream.id != self._job_id:
            why = self._wrong(stream, found)
        elif rule.run_after is not None and found.event.run == job.run + rule.run_after:  # type: ignore[attr-defined]
            return
        else:
            why = _wrong_run(job, found)
        if why:
            self._report.add("move", found.position, why, stream_id=stream.id)

    def _inspect_doubtful(self, stream: Stream, found: Examined) -> None:
        """Check an event that is damaged, or that comes after a damaged or missing one."""
        if stream.damage is None:
            self._version, self._position = stream.version, stream.position
        if not isinstance(found, RecordedEvent):
            self._report.damaged("unreadable", found.position, found.why, stream.id, found.remedy)
            return
        after, self._position = self._position, found.position
        version, self._version = self._version + 1, found.version
        if found.version != version:
            what = f"version {version} of {stream.id} is missing before it"
            self._report.doubt("version", after, found.position, what, stream.id)

    def _wrong(self, stream: Stream, found: RecordedEvent) -> str | None:
        """Why `decide` could not have returned this event at this point of the stream; None if it could."""
        job, kind = stream.job, type(found.event)
        if stream.id.startswith("$"):
            is_ours = kind in _OURS.get(_family(stream.id), ())
            return None if is_ours else f"{found.type} is no note of {stream.id}"
        if stream.id != self._job_id:
            if not is_id(stream.id):
                return "it is not a valid job id"
            self._job_id = stream.id
        if job is None:
            return None if kind is e.Enqueued else f"{found.type} comes before the job was enqueued"
        rule = self._rules.get(kind)
        if rule is None or job.state not in rule.sources:
            return f"{found.type} is not legal for a job that is {job.state}"
        return _wrong_run(job, found)


class _Rule(Struct, frozen=True):
    """The states that a job may be in before an event, and by how much the event's run exceeds the job's.

    `run_after` None: the event has no run, or need not have one.
    """

    sources: tuple[State, ...]
    run_after: int | None = None


def _rules() -> dict[type[e.Event], _Rule]:
    """The rule of each event that may follow the first one of a job's stream."""
    sources: dict[type[e.Event], tuple[State, ...]] = dict.fromkeys(_NOTES, tuple(State))
    sources[e.Amended] = tuple(state for state in State if state is not State.PROCESSING)
    types = {type_of(event): event for event in e.EVENT_TYPES}
    for move in MOVES:
        sources[types[move.event]] = tuple(state for state in State if target(state, move.trigger))
    runs = dict.fromkeys(_RUNS, 0) | {e.Claimed: 1}
    return {kind: _Rule(states, runs.get(kind)) for kind, states in sources.items()}


def _family(stream_id: str) -> str:
    family, colon, _ = stream_id.partition(":")
    return family + colon


def _wrong_run(job: Job, found: RecordedEvent) -> str | None:
    """Check the run number: a claim begins the next run, and a result must belong to the current one."""
    event: Any = found.event
    kind = type(event)
    if kind is e.Claimed:
        expected = job.run + 1
    elif kind in _RUNS or (kind is e.Cancelled and event.run is not None):
        expected = job.run
    else:
        return None
    return None if event.run == expected else f"{found.type} is of run {event.run}, it should be of run {expected}"
