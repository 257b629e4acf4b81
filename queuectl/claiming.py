"""Takes jobs for one worker: each only with its lock, and in the order of the line.

A look at the line serves several claims (hints), until another process has written or a moment has passed.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from queuectl.application import Queue
from queuectl.domain import events as e
from queuectl.domain.job import Job
from queuectl.runtime import Clock
from queuectl.spawning import Commands

__all__ = ["Claiming"]

HINTS_FOR = 10_000
"""Microseconds that a look at the line serves: what falls due with a higher priority waits no longer than that."""


@dataclass(slots=True)
class Claiming:
    """`claimant` is complete but for its run. `blocked` are jobs whose lock processes of an earlier run hold."""

    queue: Queue
    commands: Commands
    clock: Clock
    claimant: e.Claimed
    queues: Collection[str]
    disturbed: bool = False
    blocked: dict[str, Job] = field(default_factory=dict)
    _hints: list[str] = field(default_factory=list)
    _hints_until: int = 0

    def take(self, limit: int) -> list[Job]:
        """Claim up to `limit` jobs, whose locks are then held."""
        reserved: list[str] = []

        def reserve(job: Job) -> bool:
            if not self.commands.reserve(job):
                self.blocked[job.id] = job
                return False
            reserved.append(job.id)
            return True

        try:
            with self.queue.store.transaction(durable=False):
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
