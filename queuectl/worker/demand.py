"""How many jobs one worker may start now, and how many it claims."""

from collections.abc import Sized

from msgspec import Struct

from queuectl.worker.ahead import Ahead
from queuectl.worker.claims import Claims
from queuectl.worker.ending import Ending
from queuectl.worker.options import WorkerOptions
from queuectl.worker.shortage import Shortage

__all__ = ["Demand"]


class Demand(Struct):
    """One worker's demand for jobs. `running`: the jobs that run. Moments are microseconds on the monotonic clock.

    `next_at`: claim no more before that moment, at which the next job is due; None: claim in the next round.
    `exhausted`: the last claim found fewer jobs than were wanted.
    """

    options: WorkerOptions
    running: Sized
    claims: Claims
    ahead: Ahead
    ending: Ending
    shortage: Shortage
    next_at: int | None = None
    exhausted: bool = False
    _left: int | None = None

    def __post_init__(self) -> None:
        self._left = 1 if self.options.once else None

    def is_open(self) -> bool:
        """Whether this worker claims and starts jobs at present."""
        ending = self.ending  # not `has_begun`: each job passes here several times
        return not (ending.asked or ending.failure or self._left == 0 or self.shortage.lasts)

    def free(self) -> int:
        """How many jobs may be started."""
        if not self.is_open():
            return 0
        free = self.options.slots - len(self.running)
        return free if self._left is None else min(free, self._left)

    def wanted(self, now: int, with_results: bool) -> int:
        """How many jobs to claim: one for each free slot, and some ahead when there is a transaction anyway."""
        if not self.is_open() or (self.next_at is not None and now < self.next_at):
            return 0
        free = self.free()
        may_claim_ahead = self._left is None and (free or with_results)
        wanted = free + (self.ahead.wanted(now) if may_claim_ahead else 0)
        return 0 if wanted and self._nothing_is_due() else wanted

    def _nothing_is_due(self) -> bool:
        """After a claim that found too few jobs, look without the log's lock first: a wake-up wakes every worker."""
        if not self.exhausted or (wait := self.claims.until_due()) <= 0:
            return False
        self.next_at = self.claims.clock.monotonic() + wait
        return True

    def claimed(self, jobs: int, wanted: int) -> None:
        """Call after a claim of `wanted` jobs that found so many."""
        if self._left is not None:
            self._left -= jobs
        if wanted:
            self.exhausted = jobs < wanted
            if self.exhausted:
                self.next_at = self.claims.when_due()

    def is_over(self) -> bool:
        """Whether a worker with `--once` has had its job, or found none."""
        return self.options.once and (self._left == 0 or self.exhausted)
