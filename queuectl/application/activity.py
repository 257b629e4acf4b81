"""How a queue moved in the last hour: ended runs by minute, how long they waited and took, and what commands take.

It is read from the log, by position: continued as the log grows, or made for an earlier moment.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from statistics import median

from msgspec import Struct, field

from queuectl.application.runs import CLAIMED, COMPLETED, DEAD, RETRIED, Run, runs
from queuectl.application.time_travel import position_at
from queuectl.store.protocol import Store
from queuectl.units import HOUR, MINUTE

__all__ = ["HOUR", "Activity", "Minute", "QueueActivity", "Span", "slices"]

MOST = 100_000
"""The most positions of the log that are read for a part of the past: a second or less. A busier one is cut."""
SAMPLES = 100
"""Durations that are remembered for each queue and minute."""
SPANS = 2000
"""Runs that are remembered with their begin and end."""
COMMANDS = 2000
"""Commands whose durations are remembered."""
SLICES = 60
"""The parts that `slices` makes, and the minutes that are shown of an hour."""
LAST_RUNS = 20
"""Runs of a command whose durations are remembered."""
LEAST_RUNS = 5
"""Runs that a command must have had for an estimate."""


class QueueActivity(Struct):
    """One queue in one minute; the durations are seconds."""

    done: int = 0
    failed: int = 0
    retried: int = 0
    took: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)


class Minute(Struct):
    """One minute: its begin in microseconds, and its queues."""

    start: int
    queues: dict[str, QueueActivity] = field(default_factory=dict)


class Span(Struct, frozen=True):
    """One run that has ended: where, when (microseconds), and the type of the event that ended it."""

    worker: str
    job_id: str
    start: int
    end: int
    type: str


class Activity:
    """The last hour of a log. `since` is the moment from which on it is complete (microseconds)."""

    def __init__(self) -> None:
        self.since = 0
        self._after = 0
        self._minutes: deque[Minute] = deque(maxlen=SLICES + 1)
        self._begun: OrderedDict[str, Run] = OrderedDict()
        self.spans: deque[Span] = deque(maxlen=SPANS)
        self._commands: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, store: Store, until: int) -> None:
        """Read the hour before the event at a position, or as much of it as is read quickly."""
        now = store.log.wall()
        start = position_at(store.log, now - HOUR)
        self._after = max(start, until - MOST)
        first = next(store.log.stored(after=self._after, until=self._after + 1), None)
        self.since = now - HOUR if self._after == start or first is None else first.recorded_at
        self.read(store, until)

    def read(self, store: Store, until: int) -> None:
        """Continue up to a position."""
        for run in runs(store.history, self._after, until):
            self.take(run)
        self._after = max(self._after, until)

    def take(self, run: Run) -> None:
        """Count the next run of the log."""
        found = self._minute(run.at // MINUTE * MINUTE).queues.setdefault(run.queue, QueueActivity())
        if run.type == CLAIMED:
            _sample(found.waited, run.waited)
            self._begin_span(run)
            return
        if run.job_id in self._begun:
            began = self._begun.pop(run.job_id)
            self.spans.append(Span(began.worker, run.job_id, began.at, run.at, run.type))
        found.done += run.type == COMPLETED
        found.failed += run.type == DEAD
        found.retried += run.type == RETRIED
        if run.type in (COMPLETED, DEAD, RETRIED):
            _sample(found.took, run.took)
        if run.type == COMPLETED:
            self._remember(run.command, run.took)

    def _begin_span(self, run: Run) -> None:
        self._begun[run.job_id] = run
        if len(self._begun) > SPANS:
            self._begun.popitem(last=False)

    def _minute(self, start: int) -> Minute:
        if not self._minutes or self._minutes[-1].start < start:
            self._minutes.append(Minute(start))
        return self._minutes[-1]

    def _remember(self, command: str, took: float) -> None:
        self._commands.setdefault(command, deque(maxlen=LAST_RUNS)).append(took)
        self._commands.move_to_end(command)
        if len(self._commands) > COMMANDS:
            self._commands.popitem(last=False)

    def usual(self, command: str) -> float | None:
        """The median of the command's last runs, in seconds; None when there are too few of them."""
        found = self._commands.get(command, ())
        return median(found) if len(found) >= LEAST_RUNS else None

    def minutes(self, now: int) -> list[Minute]:
        """The 60 minutes up to a moment, the oldest first, also those in which nothing happened."""
        known = {minute.start: minute for minute in list(self._minutes)}
        last = now // MINUTE * MINUTE
        return [
            known.get(start) or Minute(start) for start in range(last - (SLICES - 1) * MINUTE, last + MINUTE, MINUTE)
        ]

    def queue(self, name: str, now: int) -> QueueActivity:
        """One queue in the hour up to a moment."""
        return _added(minute.queues[name] for minute in self.minutes(now) if name in minute.queues)

    def whole(self, now: int) -> QueueActivity:
        """All queues together in the hour up to a moment."""
        return _added(each for minute in self.minutes(now) for each in list(minute.queues.values()))


def slices(store: Store, start: int, end: int) -> list[Minute]:
    """The ended runs between two moments (microseconds), in as many equal parts as an hour has minutes.

    Of a very busy time only the last MOST events are read.
    """
    width = max((end - start) // SLICES, 1)
    found = [Minute(start + place * width) for place in range(SLICES)]
    until = position_at(store.log, end)
    for run in runs(store.history, max(position_at(store.log, start), until - MOST), until):
        if run.type in {COMPLETED, DEAD, RETRIED} and start <= run.at < start + SLICES * width:
            part = found[(run.at - start) // width].queues.setdefault(run.queue, QueueActivity())
            part.done += run.type == COMPLETED
            part.failed += run.type == DEAD
            part.retried += run.type == RETRIED
    return found


def _added(parts: Iterable[QueueActivity]) -> QueueActivity:
    total = QueueActivity()
    for part in parts:
        total.done += part.done
        total.failed += part.failed
        total.retried += part.retried
        total.took += part.took
        total.waited += part.waited
    return total


def _sample(samples: list[float], value: float) -> None:
    if len(samples) < SAMPLES:
        samples.append(value)
