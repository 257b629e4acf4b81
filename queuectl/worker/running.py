"""The running jobs of one worker: starts them, stops them when their time is over, and collects their results."""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from msgspec import Struct, field

from queuectl.domain.commands import Release, Report
from queuectl.domain.job import Job
from queuectl.process.protocol import Commands, ShortageError
from queuectl.runtime import Clock
from queuectl.units import SECOND
from queuectl.worker.ahead import ClaimedJob
from queuectl.worker.heartbeat import LeaseFence
from queuectl.worker.log import RunLog, log
from queuectl.worker.results import Results
from queuectl.worker.shortage import Shortage
from queuectl.worker.slots import FREED, TOO_LATE, Slot, outcome

__all__ = ["LOOK_AT_LEFTOVERS_EVERY", "RunningJobs"]

LOOK_AT_LEFTOVERS_EVERY = SECOND // 10
"""Microseconds between two looks at background processes of ended jobs."""
LAST_GRACE = SECOND
"""Microseconds: the longest grace period of a job once the worker's own time to stop is over."""


class RunningJobs(Struct):
    """The jobs in `slots`, by id. `grace` is microseconds; `leftovers` counts ended jobs whose processes still live."""

    commands: Commands
    clock: Clock
    random: Callable[[], float]
    slots: dict[str, Slot]
    results: Results
    fence: LeaseFence
    shortage: Shortage
    run_log: RunLog
    grace: int
    leftovers: int = 0
    _free: list[int] = field(default_factory=list)

    def start(self, claimed: ClaimedJob) -> Slot | None:
        """Start a claimed job. Returns None when it did not start: it was given back, or its failure is recorded."""
        job = claimed.job
        if self.clock.monotonic() >= min(self.fence.at, claimed.start_before):
            self.give_back([claimed], TOO_LATE)
            return None
        try:
            failed = self.commands.start(job, number := self._free[0] if self._free else len(self.slots))
        except ShortageError as error:
            self._put_back(job, str(error))
            return None
        now = self.clock.monotonic()
        self.shortage.end()
        if failed is not None:
            self.results.add(Report(job.id, job.run, failed, self.random()), job, now)
            return None
        self.run_log.started(job, now)
        timeout = job.spec.timeout
        self.slots[job.id] = slot = Slot(job, number, None if timeout is None else now + timeout)
        if self._free:
            heappop(self._free)
        return slot

    def _put_back(self, job: Job, why: str) -> None:
        """Put a job back because this machine can start no process now. That is not the job's fault."""
        self.shortage.begin()
        log.warning("job %s run %d: put back, this machine can start no process: %s", job.id, job.run, why)
        self.results.add(Release(job.id, job.run, f"could not be started: {why}"), job, self.clock.monotonic())

    def give_back(self, claimed: Iterable[ClaimedJob], why: str) -> None:
        """Release the locks of claimed jobs that are not started, and put the jobs back into the queue."""
        now = self.clock.monotonic()
        for each in claimed:
            self.commands.unreserve(each.job.id)
            self.results.give_back(each, why, now)

    def collect(self) -> None:
        """Collect the results of jobs that have ended."""
        for ended in self.commands.ended():
            slot = self.slots.pop(ended.job_id)
            heappush(self._free, slot.number)
            self.results.add(outcome(slot, ended.exit, self.random), slot.job, self.clock.monotonic())

    def enforce_deadlines(self, now: int) -> None:
        """Stop jobs past their timeout, kill those past their grace period, and end what ended jobs left behind."""
        for slot in self.slots.values():
            if not slot.ending and slot.deadline is not None and now >= slot.deadline:
                self.end(slot, "timeout")
            if slot.kill_at is not None and now >= slot.kill_at:
                self.commands.end(slot.job.id, force=True)
                slot.kill_at = now + SECOND  # again, for processes that were forked meanwhile
        self.leftovers = self.commands.end_leftovers(self.grace)

    def hurry(self) -> None:
        """Shorten the grace period to at most a second, also of jobs that are being stopped."""
        self.grace, now = min(self.grace, LAST_GRACE), self.clock.monotonic()
        for slot in self.slots.values():
            if slot.kill_at is not None:
                slot.kill_at = min(slot.kill_at, now + self.grace)

    def end(self, slot: Slot, why: str) -> None:
        """Ask a job to end; it is killed when its grace period is over."""
        if not slot.ending:
            self.run_log.write()
            log.info("job %s: stopping it (%s)", slot.job.id, why)
            slot.ending, slot.kill_at = why, self.clock.monotonic() + (0 if why == FREED else self.grace)
            self.commands.end(slot.job.id, force=False)
