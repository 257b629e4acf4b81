"""Checks each event: it can be read, has the right version of its stream, and was a legal move at that time."""

from collections.abc import Callable
from typing import Any

from queuectl.checks.report import Report
from queuectl.domain import events as e
from queuectl.domain.events import RecordedEvent, type_of
from queuectl.domain.job import Job
from queuectl.domain.machine import MOVES, State, target
from queuectl.store.protocol import SETTINGS_STREAM, is_id, queue_stream, worker_stream
from queuectl.store.stream_fold import Found, Life

__all__ = ["EVERY", "StreamCheck"]

EVERY = 1000
"""Events between two calls of `progress`."""

_NOTES = (e.CancelRequested, e.ResultRejected)
_RUNS = (e.Completed, e.RetryScheduled, e.DeadLettered, e.Released, e.CancelRequested)
_OURS = {
    SETTINGS_STREAM: (e.SettingChanged,),
    queue_stream(""): (e.QueuePaused, e.QueueResumed),
    worker_stream(""): (e.WorkerStarted, e.WorkerStopped, e.WorkerLost),
}


class StreamCheck:
    """Pass every event, stream by stream, to `inspect` just before it is folded."""

    def __init__(self, report: Report, progress: Callable[[int], None] = lambda done: None) -> None:
        self._report, self._progress = report, progress
        self._legal = _legal()
        self._stream, self._version, self._position = "", 0, 0

    def inspect(self, life: Life, found: Found) -> None:
        """Check the next event of a stream. Moves after a damaged event in a job's stream are not checked."""
        report = self._report
        report.events += found.position <= report.head.position
        if report.events % EVERY == 0:
            self._progress(report.head.position + report.events)
        if life.stream_id != self._stream:
            self._stream, self._version, self._position = life.stream_id, 0, 0
        if not isinstance(found, RecordedEvent):
            report.damaged("unreadable", found.position, found.why, life.stream_id, found.remedy)
            return
        after, self._position = self._position, found.position
        version, self._version = self._version + 1, found.version
        if found.version != version:
            what = f"version {version} of {life.stream_id} is missing before it"
            report.doubt("version", after, found.position, what, life.stream_id)
        elif life.damage is None and (why := _wrong(life, found, self._legal)):
            report.add("move", found.position, why, stream_id=life.stream_id)


def _legal() -> dict[type[e.Event], tuple[State, ...]]:
    """The states that a job may be in before each event of its stream."""
    sources: dict[type[e.Event], tuple[State, ...]] = dict.fromkeys(_NOTES, tuple(State))
    types = {type_of(event): event for event in e.EVENT_TYPES}
    for move in MOVES:
        sources[types[move.event]] = tuple(state for state in State if target(state, move.trigger))
    return sources


def _wrong(life: Life, found: RecordedEvent, legal: dict[type[e.Event], tuple[State, ...]]) -> str | None:
    """Why `decide` could not have returned this event at this point of the stream; None if it could."""
    job, kind = life.job, type(found.event)
    if life.stream_id.startswith("$"):
        return (
            None if kind in _OURS.get(_family(life.stream_id), ()) else f"{found.type} is no note of {life.stream_id}"
        )
    if not is_id(life.stream_id):
        return "it is not a valid job id"
    if job is None:
        return None if kind is e.Enqueued else f"{found.type} comes before the job was enqueued"
    if job.state not in legal.get(kind, ()):
        return f"{found.type} is not legal for a job that is {job.state}"
    return _wrong_run(job, found)


def _family(stream_id: str) -> str:
    family, colon, _ = stream_id.partition(":")
    return family + colon


def _wrong_run(job: Job, found: RecordedEvent) -> str | None:
    """The fence: a claim begins the next run, a result is that of the current one."""
    event: Any = found.event
    kind = type(event)
    if kind is e.Claimed:
        expected = job.run + 1
    elif kind in _RUNS or (kind is e.Cancelled and event.run is not None):
        expected = job.run
    else:
        return None
    return None if event.run == expected else f"{found.type} is of run {event.run}, it should be of run {expected}"
