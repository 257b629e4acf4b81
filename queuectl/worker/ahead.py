"""The jobs that a busy worker has claimed before it has a slot for them, so that one transaction serves many jobs.

How many is measured: as many as were started in the last 10 ms, and a quarter more. So a worker that has just begun,
or whose jobs last, claims none ahead. A job that waits here for 20 ms is given back, for any worker to take.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from queuectl.domain.job import Job

__all__ = ["AT_MOST", "Ahead", "ClaimedJob"]

AT_MOST = 64
"""Jobs: each takes an open file, its lock."""
WINDOW, HELD_FOR = 10_000, 20_000
"""Microseconds in which starts are counted, and for which a job is held at most."""


class ClaimedJob(NamedTuple):
    """A job as it was claimed, and when it was due before, which is its place in line (None: it has none)."""

    job: Job
    due_at: int | None


def _place(claimed: ClaimedJob) -> tuple[int, int, int]:
    """By this jobs are started: as they are claimed, the highest priority first."""
    return -claimed.job.spec.priority, claimed.due_at or 0, claimed.job.position


@dataclass(slots=True)
class Ahead:
    """See the module's docstring. Moments are microseconds on the monotonic clock."""

    at_most: int = AT_MOST
    _line: list[ClaimedJob] = field(default_factory=list)
    _claimed_at: dict[str, int] = field(default_factory=dict)
    _starts: deque[int] = field(default_factory=deque)
    _busy_since: int = 0
    _rests_until: int = 0

    def __len__(self) -> int:
        return len(self._line)

    @property
    def ids(self) -> Collection[str]:
        """The jobs."""
        return self._claimed_at.keys()

    def started(self, now: int) -> None:
        """A job was started, from here or not."""
        if not self._starts or now - self._starts[-1] > WINDOW:
            self._busy_since = now
            self._starts.clear()
        self._starts.append(now)

    def wanted(self, now: int) -> int:
        """How many more to claim: one at least while jobs are started, because it may have a higher priority."""
        starts = self._starts
        while starts and now - starts[0] > WINDOW:
            starts.popleft()
        if not starts or now - self._busy_since < WINDOW or now < self._rests_until:
            return 0
        missing = len(starts) * 5 // 4 - len(self._line)
        return min(max(1, missing), max(0, self.at_most - len(self._line)))

    def add(self, claimed: ClaimedJob, now: int) -> None:
        """Hold a job until there is a slot for it."""
        insort(self._line, claimed, key=_place)
        self._claimed_at[claimed.job.id] = now

    def outranked_by(self, job: Job) -> int:
        """How many of these have a lower priority: so many more may have to be claimed."""
        return sum(claimed.job.spec.priority < job.spec.priority for claimed in self._line)

    def take(self) -> ClaimedJob:
        """The next one to start."""
        claimed = self._line.pop(0)
        del self._claimed_at[claimed.job.id]
        return claimed

    @property
    def due_at(self) -> int | None:
        """When one has to be given back; None when there is none."""
        return next(iter(self._claimed_at.values())) + HELD_FOR if self._claimed_at else None

    def overdue(self, now: int) -> list[ClaimedJob]:
        """Those that have waited for too long. Nothing is claimed ahead for a moment, so that others get them."""
        late = [each for each in self._line if now - self._claimed_at[each.job.id] >= HELD_FOR]
        if late:
            self._rests_until = now + WINDOW
        return self._without(late)

    def those(self, chosen: Callable[[Job], bool]) -> list[ClaimedJob]:
        """The chosen ones, which are held no longer."""
        return self._without([each for each in self._line if chosen(each.job)])

    def _without(self, given: list[ClaimedJob]) -> list[ClaimedJob]:
        for each in given:
            self._line.remove(each)
            del self._claimed_at[each.job.id]
        return given
