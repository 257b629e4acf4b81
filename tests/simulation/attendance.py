"""The part of the oracle that checks that nothing is left waiting: no lost run, and no job that is due."""

from collections.abc import Iterable, Mapping, Set

from msgspec import Struct

from queuectl.domain import events as e
from queuectl.domain.job import Job
from queuectl.domain.names import PAUSE_ALL
from queuectl.store.protocol import Store
from tests.simulation.hosts import SECOND, Place
from tests.simulation.tables import must
from tests.simulation.world import WorkerProcess, World

__all__ = ["Attendance", "Known", "least_seen"]

FREED_WITHIN = 60 * SECOND
TAKEN_WITHIN = 10 * SECOND
BLOCKED_FOR = 2 * SECOND
"""How long a job whose lock was held is not expected to be asked for again."""


class Known(Struct):
    """The oracle's record of a job."""

    spec: e.Enqueued
    position: int
    state: str = ""
    attempts: int = 0
    run: int = 0
    due_at: int = 0
    waits_from: int | None = None
    passed_over: dict[int, int] = {}
    claim: e.Claimed | None = None
    claimed_at: int = 0
    job: Job | None = None

    def left(self, now: int, behind_for: int | None) -> int:
        """The time until the job is due; if the recording clock was ahead, its wait is measured instead."""
        if behind_for is None or not self.is_misdated(now):
            return self.due_at - now
        return min(self.due_at - now, self.due_at - (self.waits_from or 0) - behind_for)

    def is_misdated(self, now: int) -> bool:
        """Whether the clock that recorded the job was ahead of `now`."""
        return self.waits_from is not None and self.waits_from > now


class Attendance:
    """`jobs` and `paused` are the oracle's own. `check` after every step."""

    def __init__(self, world: World, store: Store, jobs: Mapping[str, Known], paused: Set[str]) -> None:
        self.world, self.clock, self.store = world, world.clock, store
        self.jobs, self.paused = jobs, paused
        self.looked_at = 0
        self.unattended: dict[str, int] = {}
        self.untaken: dict[str, int] = {}

    def check(self) -> None:
        """Check for how long each job has been lost or due."""
        now = self.clock.monotonic()
        passed, self.looked_at = now - self.looked_at, now
        self.unattended = {job_id: self.unattended.get(job_id, -passed) + passed for job_id in self._lost()}
        self.untaken = {job_id: self.untaken.get(job_id, -passed) + passed for job_id in self.due_and_free()}
        for job_id, since in self.unattended.items():
            must(since <= FREED_WITHIN, f"{job_id} has been in processing without a worker for {since / SECOND} s")
        for job_id, since in self.untaken.items():
            must(since <= TAKEN_WITHIN, f"{job_id} is due, and for {since / SECOND} s no idle worker has taken it")

    def _lost(self) -> list[str]:
        """Jobs in processing that no healthy worker watches, although there is a healthy worker."""
        healthy = [process for process in self.world.workers.values() if process.healthy]
        held = [job_id for job_id, each in self.jobs.items() if each.state == "processing"] if healthy else []
        return [job_id for job_id in held if not self._is_attended(job_id, healthy)]

    def _is_attended(self, job_id: str, healthy: list[WorkerProcess]) -> bool:
        """Whether its command runs under a healthy worker, or its lock is held where no healthy worker can reach it."""
        run = self.world.runs.get((job_id, self.jobs[job_id].run))
        if run and run.lives(self.clock.monotonic()) and any(run.parent == process.row.pid for process in healthy):
            return True
        holders = self.world.holders(job_id)
        return any(all(_in_the_way(holder, process.place) for process in healthy) for holder in holders)

    def due_and_free(self) -> list[str]:
        """Jobs that are due, have an idle worker for their queue, and whose lock was not seen taken."""
        idle = [process for process in self.world.workers.values() if process.idle]
        waiting = [(job_id, each) for job_id, each in self.jobs.items() if each.state == "pending"]
        if not idle or not waiting:
            return []
        lately = self.clock.monotonic() - BLOCKED_FOR
        now, behind_for = self.store.log.wall(), least_seen(idle)
        return [
            job_id
            for job_id, each in waiting
            if each.left(now, behind_for) <= 0
            and not self.paused & {PAUSE_ALL, each.spec.queue}
            and self.world.refused.get(job_id, 0) < lately
            and any(process.serves(each.spec.queue) for process in idle)
        ]


def least_seen(processes: Iterable[WorkerProcess]) -> int | None:
    """For how long all of these have seen the clock behind the log; None when it is not behind."""
    seen = [process.worker.queue.store.log.behind_for() for process in processes]
    found = [each for each in seen if each is not None]
    return min(found) if found and len(found) == len(seen) else None


def _in_the_way(holder: Place, place: Place) -> bool:
    """Whether the lock's holder is on the same host, but in another namespace where it cannot be seen."""
    return holder.host == place.host and holder.namespace != place.namespace
