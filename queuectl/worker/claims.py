"""Takes jobs for one worker: each only with its lock, and in the order of the line.

A look at the line serves several claims (hints), until another process has written or a moment has passed.
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from queuectl.application.queue import Queue
from queuectl.domain.commands import Claimant
from queuectl.domain.job import Job
from queuectl.process.protocol import Commands
from queuectl.runtime import Clock
from queuectl.store.protocol import DamagedEventError, WorkerRow

__all__ = ["Claiming", "claimant"]

HINTS_FOR = 10_000
"""Microseconds that a look at the line serves: what falls due with a higher priority waits no longer than that."""
RETRY_BLOCKED_AFTER, LOOK_AGAIN_AFTER = 100_000, 1_000_000
SHORTEST_SHORTAGE, LONGEST_SHORTAGE = 1_000_000, 30_000_000
"""Microseconds between two attempts while the machine can start nothing."""


def claimant(row: WorkerRow, lease: int, uid: int | None = None) -> Claimant:
    """The worker of a row as a claimant. A row does not say whose processes they are: `uid`, if that is known."""
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


@dataclass(slots=True)
class Claiming:
    """`blocked` are jobs whose lock processes of an earlier run hold."""

    queue: Queue
    commands: Commands
    clock: Clock
    claimant: Claimant
    queues: Collection[str]
    disturbed: bool = False
    blocked: dict[str, Job] = field(default_factory=dict)
    _hints: list[str] = field(default_factory=list)
    _hints_until: int = 0
    held_until: int = 0
    _shortage: int = 0

    def take(self, limit: int, turn: AbstractContextManager[object] | None = None) -> list[Job]:
        """Claim up to `limit` jobs, whose locks are then held; within `turn`, if that is the transaction."""
        reserved: list[str] = []

        def reserve(job: Job) -> bool:
            if not self.commands.reserve(job):
                self.blocked[job.id] = job
                return False
            reserved.append(job.id)
            return True

        try:
            with turn or self.queue.store.transaction(durable=False):
                self._check_hints()
                return self.queue.claim(self.claimant, self.queues, limit, reserve, self._hints)
        except BaseException:
            self._hints.clear()
            for job_id in reserved:
                self.commands.unreserve(job_id)
            raise

    def _check_hints(self) -> None:
        """Under the log's lock: a queue that was paused a moment ago, say, is not claimed from."""
        now = self.clock.monotonic()
        self.disturbed = self.anything_new()
        if now >= self._hints_until:
            self._hints.clear()
            self._hints_until = now + HINTS_FOR

    def anything_new(self) -> bool:
        """Whether another process has written since this was last asked; then the line has to be looked at anew."""
        new, self.disturbed = self.queue.store.changed() or self.disturbed, False
        if new:
            self._hints.clear()
        return new

    def when_due(self) -> int:
        """When to ask again. A job that is due and was not to be had waits for processes of an earlier run."""
        wait = self.until_due()
        return self.clock.monotonic() + (wait if wait > 0 else RETRY_BLOCKED_AFTER)

    def until_due(self) -> int:
        """How long it is until a job is due; no longer than others may have freed one."""
        due = self.queue.store.next_due(self.queues)
        return LOOK_AGAIN_AFTER if due is None else min(LOOK_AGAIN_AFTER, due - self.queue.store.now())

    def freed(self, jobs: Sequence[Job]) -> list[Job]:
        """Those of these that another machine has freed since: one that slept cannot tell for how long."""
        if not jobs or not self.queue.store.spans_hosts:
            return []
        held = dict(self.queue.store.processing())
        return [job for job in jobs if held.get(job.id) != job.run and self._is_over(job)]

    def _is_over(self, job: Job) -> bool:
        """By the log: the tables may be wrecked."""
        try:
            there = self.queue.store.load(job.id)
        except DamagedEventError:
            return False
        return there is not None and (there.run != job.run or there.claim is None)

    # ── while the machine can start nothing ─────────────────────────────────────────────────────────

    @property
    def held_off(self) -> bool:
        """Whether nothing is to be claimed for now."""
        return self.clock.monotonic() < self.held_until

    def hold_off(self) -> None:
        """A claimed job could not be started, as no other could be: claim none for a while, each time twice as long."""
        if not self.held_off:
            self._shortage = min(max(SHORTEST_SHORTAGE, 2 * self._shortage), LONGEST_SHORTAGE)
            self.held_until = self.clock.monotonic() + self._shortage

    def go_on(self) -> None:
        """A job was started."""
        self._shortage = 0
