"""Claims jobs for one worker, in claiming order, and takes each job's lock first.

One search serves several claims: the ids it finds are hints, which are used for 10 ms or until another process writes.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct, field

from queuectl.application.queue import Queue
from queuectl.domain.commands import Claimant
from queuectl.domain.job import Job
from queuectl.errors import NotArchivedError
from queuectl.process.protocol import Commands
from queuectl.runtime import Clock, Reach
from queuectl.store.errors import DamagedEventError
from queuectl.store.rows import WorkerRow
from queuectl.units import SECOND
from queuectl.worker.ahead import ClaimedJob
from queuectl.worker.heartbeat import lease_fence

__all__ = ["LOOK_EVERY", "Claims", "Reserve", "claimant"]

Reserve = Callable[[Job], bool]
"""Takes a job's lock. Returns False while processes of an earlier run hold it."""

HINTS_LAST = 10_000
"""Microseconds for which hints are used. A job of higher priority that becomes due meanwhile waits for this long."""
LOOK_EVERY = 2_000
"""Microseconds for which claimed jobs are started without a check for what other processes wrote."""
RETRY_BLOCKED_AFTER, SEARCH_AGAIN_AFTER = SECOND // 10, SECOND


def claimant(row: WorkerRow, lease: int, uid: int | None = None) -> Claimant:
    """The claimant that a worker's row describes. `uid` is the user of its processes, if known: a row has no user."""
    return Claimant(
        worker=row.name,
        host=row.host,
        boot_id=row.boot_id,
        pid=row.pid,
        pid_namespace=row.pid_namespace,
        pid_started_at=row.pid_started_at,
        lease=lease,
        uid=uid,
    )


class Claims(Struct):
    """One worker's claims. `blocked`: jobs not claimed because processes of an earlier run still hold their locks."""

    queue: Queue
    commands: Commands
    clock: Clock
    claimant: Claimant
    queues: Collection[str]
    blocked: dict[str, Job] = field(default_factory=dict)
    _hints: list[str] = field(default_factory=list)
    _hints_until: int = 0
    _looked_at: int = 0
    _due: dict[str, int | None] = field(default_factory=dict)

    @contextmanager
    def reserving(self) -> Iterator[Reserve]:
        """Yields a function that takes job locks. They are released unless the transaction inside is committed."""
        reserved: list[str] = []

        def reserve(job: Job) -> bool:
            if not self.commands.reserve(job):
                self.blocked[job.id] = job
                return False
            reserved.append(job.id)
            # A due time in the future was set by a clock that was ahead: it is not the job's place in line.
            self._due[job.id] = job.due_at if job.due_at and job.due_at <= self.queue.store.log.wall() else None
            return True

        self._due.clear()
        try:
            yield reserve
        except NotArchivedError:  # the transaction was committed
            raise
        except BaseException:
            self._hints.clear()
            for job_id in reserved:
                self.commands.unreserve(job_id)
            raise

    def begin(self) -> bool:
        """Whether another process has written since this worker last checked. Call this first in each transaction.

        The transaction holds the log's lock, so the answer stays true: no job of a paused queue is claimed.
        """
        now = self.clock.monotonic()
        if now >= self._hints_until:
            self._hints.clear()
            self._hints_until = now + HINTS_LAST
        return self.others_wrote()

    def take(self, limit: int, reserve: Reserve) -> list[ClaimedJob]:
        """Claim up to `limit` jobs in the open transaction."""
        start_before = self.clock.monotonic() + lease_fence(self.claimant.lease)
        jobs = self.queue.claim(self.claimant, self.queues, limit, reserve, self._hints)
        return [ClaimedJob(job, self._due[job.id], start_before) for job in jobs]

    def others_wrote(self, not_within: int = 0) -> bool:
        """Whether another process has written since the last check. If so, the hints are dropped.

        False, without a check, when the last one was less than `not_within` microseconds ago.
        """
        now = self.clock.monotonic()
        if now - self._looked_at < not_within:
            return False
        self._looked_at = now
        wrote = self.queue.store.workers.changed()
        if wrote:
            self._hints.clear()
        return wrote

    def when_due(self) -> int:
        """When to claim again. A job that is due but was not claimed waits until processes of an earlier run end."""
        wait = self.until_due()
        return self.clock.monotonic() + (wait if wait > 0 else RETRY_BLOCKED_AFTER)

    def until_due(self) -> int:
        """Microseconds until the next job is due; at most a second, because another worker may free one."""
        store = self.queue.store
        now = store.log.wall()
        due = store.tables.next_due(self.queues, now, store.log.behind_for())
        return SEARCH_AGAIN_AFTER if due is None else min(SEARCH_AGAIN_AFTER, due - now)

    def freed(self, jobs: Sequence[Job]) -> list[Job]:
        """Our jobs that another host has freed meanwhile (this host may have been suspended)."""
        if not jobs or self.queue.store.location.reach is Reach.ONE_HOST:
            return []
        held = dict(self.queue.store.tables.processing())
        return [job for job in jobs if held.get(job.id) != job.run and self._is_over(job)]

    def _is_over(self, job: Job) -> bool:
        """Whether this run is over according to the log; the tables may be corrupt."""
        try:
            there = self.queue.store.log.load(job.id)
        except DamagedEventError:
            return False
        return there is not None and (there.run != job.run or there.claim is None)
