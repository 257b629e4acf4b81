"""Jobs that a busy worker claims before it has a slot for them, so that one transaction serves many jobs.

Their number follows the load: as many as were started in the last 10 ms, and a quarter more. A worker that has just
started, or whose jobs are long, claims none ahead. A job that waits here for 20 ms is given back, for others to take.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Collection

from msgspec import Struct, field

from queuectl.domain.job import Job

__all__ = ["AT_MOST", "Ahead", "ClaimedJob"]

AT_MOST = 64
"""Jobs. Each needs one open file, its lock."""
WINDOW, HELD_FOR = 10_000, 20_000
"""Microseconds: the period in which starts are counted, and the longest that a job is held."""


class ClaimedJob(Struct, frozen=True, eq=False):
    """A claimed job, and when it was due before the claim: its place in line (None: it has none).

    It is not started from `start_before` (monotonic clock) on: other workers may have freed it. This process may have
    slept since the claim, and heartbeats after that say nothing about the claim.
    """

    job: Job
    due_at: int | None
    start_before: int


def _place(claimed: ClaimedJob) -> tuple[int, int, int]:
    """The order of starting, which is the order of claiming: highest priority first."""
    return -claimed.job.spec.priority, claimed.due_at or 0, claimed.job.position


class Ahead(Struct):
    """The jobs held by one worker. Moments are microseconds on the monotonic clock."""

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
        """The ids of the jobs held."""
        return self._claimed_at.keys()

    def started(self, now: int) -> None:
        """Count the start of a job, whether it was held here or not."""
        if not self._starts or now - self._starts[-1] > WINDOW:
            self._busy_since = now
            self._starts.clear()
        self._starts.append(now)

    def wanted(self, now: int) -> int:
        """How many more jobs to claim. At least one while jobs are started: it may have a higher priority."""
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
        """How many held jobs have a lower priority than this one. That many more may have to be claimed."""
        return sum(claimed.job.spec.priority < job.spec.priority for claimed in self._line)

    def take(self, stalled: Collection[str]) -> ClaimedJob | None:
        """Remove and return the next job to start, of none of these batches; None when there is no such job."""
        for claimed in self._line:
            if claimed.job.spec.batch not in stalled:
                self._remove([claimed])
                return claimed
        return None

    @property
    def due_at(self) -> int | None:
        """When the first job must be given back; None when no job is held."""
        return next(iter(self._claimed_at.values())) + HELD_FOR if self._claimed_at else None

    def take_overdue(self, now: int) -> list[ClaimedJob]:
        """Remove and return jobs that waited too long. For 10 ms, claim none ahead, so that other workers get them."""
        late = [each for each in self._line if now - self._claimed_at[each.job.id] >= HELD_FOR]
        if late:
            self._rests_until = now + WINDOW
        self._remove(late)
        return late

    def take_if(self, chosen: Callable[[Job], bool]) -> list[ClaimedJob]:
        """Remove and return the chosen jobs."""
        found = [each for each in self._line if chosen(each.job)]
        self._remove(found)
        return found

    def _remove(self, given: list[ClaimedJob]) -> None:
        for each in given:
            self._line.remove(each)
            del self._claimed_at[each.job.id]
