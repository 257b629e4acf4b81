"""A seeded scheduler: workers, commands and faults take turns, and the oracle checks after each step.

The seed also decides which kinds of fault there are and how often: in a run with all of them, some would hide others.
"""

import random
from collections.abc import Callable
from functools import partial

from queuectl.application.queue import Queue
from queuectl.domain.events import Exited, RecordedEvent, Signalled
from queuectl.domain.job import Job
from queuectl.domain.names import PAUSE_ALL
from queuectl.errors import NoSuchJobError, RefusedError, StoreBusyError, StoreError
from tests.simulation.attendance import least_seen
from tests.simulation.connection import COMMIT, COMMITTED, Connection
from tests.simulation.driver import Crashed, Driver
from tests.simulation.fate import Fate, drawn
from tests.simulation.happenings import QUEUES, happen
from tests.simulation.invariants import InvariantError, Oracle
from tests.simulation.tables import must
from tests.simulation.world import FOR_EVER, SECOND, Script, WorkerProcess

__all__ = ["STEPS", "Simulation"]

STEPS = 300
QUICK = [200, 500, 1_000, 1_000, 2_000, 5_000, 30_000, 4 * SECOND]
"""How long jobs last, in microseconds, where most are quick: there, workers claim ahead."""
SETTLED_WITHIN = 600 * SECOND
COMMANDS = frozenset({"reserve", "start", "started", "ended", "end", "end_leftovers", "kill_all", "clear"})
"""Points at which no store is asked, so none can be busy."""


class Simulation(Driver):
    """One seed. `run_all` returns the log, or raises InvariantError. `rested` is the time that was skipped."""

    def __init__(self, seed: int, steps: int = STEPS, url: str = ":memory:") -> None:
        self.rng = rng = random.Random(seed)
        super().__init__(keeps_lock=rng.random() < 0.5, seed=seed, hosts=rng.choice([1, 2, 2, 3]), url=url)
        self.seed, self.steps, self.steps_left = seed, 0, steps
        self.fate = drawn(rng)
        self.lease = rng.choice([3, 8, 30]) * SECOND
        self.namespaces = rng.choice([1, 1, 2])
        self.quick = random.Random(f"{seed}/quick").random() < 0.4
        self.full_until = self.rested = self.added = 0
        self.nested = False
        self.oracle = Oracle(self)
        self.user = Queue(Connection(self.shared, partial(self.visit, None)), self.user.actor)

    def run_all(self) -> list[RecordedEvent]:
        """Run all steps, then the end without faults; return the log."""
        while self.steps_left > 0:
            self.step()
        self.settle()
        return self.oracle.finish()

    # ── one step ────────────────────────────────────────────────────────────────────────────────────

    def step(self) -> None:
        """One command or fault, or the next worker's tick."""
        self.steps += 1
        self.steps_left -= 1
        if self.rng.random() < 0.3:
            self.clock.advance(self.rng.randrange(200_000))
            happen(self)
        elif not self.tick_next():
            self.clock.advance(SECOND)
        self.resume()
        self.oracle.check()

    def tick(self, process: WorkerProcess) -> None:
        """One tick, which is reported to the oracle."""
        super().tick(process)
        self.oracle.ticked(process.row.pid)
        if process.alive and not self.fate.busy and process.worker.failure is None:
            silent = process.ticked_at - self.oracle.beat_at(process)
            must(silent <= self.lease, f"{process.row.name} was called, but has sent no heartbeat for {silent} us")

    def resume(self) -> None:
        """Let suspended workers continue whose time has come."""
        for process in self.workers:
            if process.resumes_at is not None and process.resumes_at <= self.clock.monotonic():
                process.resumes_at = None
                process.wants = self.clock.monotonic()

    def wake(self) -> None:
        """Wake idle workers; a wake-up is a hint and may get lost."""
        if self.rng.random() >= self.fate.lost_wake_ups:
            super().wake()

    def rest(self, longest: int | None = None) -> None:
        """While there is nothing to do, skip the time until a job is due (None: however long that takes).

        Ticks that would write only heartbeats are left out.
        """
        if self.nested or self.oracle.attendance.due_and_free() or any(map(_is_busy, self.workers)):
            return
        jobs, now, behind_for = self.oracle.jobs.values(), self.store.log.wall(), least_seen(self.workers)
        if any(each.state == "processing" for each in jobs):
            return
        waits = [left for each in jobs if each.state == "pending" and (left := each.left(now, behind_for)) > 0]
        passes = min([*waits, *([] if longest is None else [longest])], default=0)
        self.clock.advance(passes)
        self.rested += passes
        for process in self.workers:
            process.wants = max(process.wants, self.clock.monotonic())

    def leave(self, process: WorkerProcess) -> None:
        """Check that an ended worker left no process, and a draining one no work."""
        left = process.commands.runs or process.commands.leftovers
        if left:
            raise InvariantError(f"{process.row.name} ends, but {left} are left")
        asked = process.options.once or process.stops or process.worker.failure
        if process.options.drain and not asked and (work := self._work_for(process)):
            raise InvariantError(f"{process.row.name} has drained its queues, but for {work}")
        super().leave(process)

    def _work_for(self, process: WorkerProcess) -> list[str]:
        self.oracle.read_on()
        paused, jobs = self.oracle.paused, self.oracle.jobs
        return [
            job_id
            for job_id in self.oracle.live()
            if process.serves(jobs[job_id].spec.queue)
            and not (jobs[job_id].state == "pending" and paused & {PAUSE_ALL, jobs[job_id].spec.queue})
        ]

    # ── misfortunes ─────────────────────────────────────────────────────────────────────────────────

    def visit(self, process: WorkerProcess | None, point: str) -> None:
        """At this call the process may die, meet a locked or full store, or be suspended while others run."""
        luck, fate = self.rng.random(), self.fate
        if process and luck < fate.crash:
            raise Crashed
        luck -= fate.crash
        if luck < fate.busy:
            self._be_busy(process, point)
        elif luck < fate.busy + fate.interrupted and not self.nested and not self.shared.locked:
            self._let_others_go_first()
        if process and not process.alive:
            raise Crashed
        if point == COMMIT and self.clock.monotonic() < self.full_until:
            raise StoreError("the disk is full: make room on it")

    def _be_busy(self, process: WorkerProcess | None, point: str) -> None:
        if point in COMMANDS or (process and not process.steady):
            return
        if point == COMMITTED and not self.fate.commit_reported_failed:
            return
        raise StoreBusyError("the store is locked by another process: try again")

    def _let_others_go_first(self) -> None:
        self.nested = True
        try:
            until = self.clock.monotonic() + self.rng.choice([0, SECOND, self.lease + 3 * SECOND])
            for _ in range(self.rng.randrange(1, 60)):
                if self.clock.monotonic() >= until and self.rng.random() < 0.5:
                    return
                self.step()
        finally:
            self.nested = False

    def attempt(self, act: Callable[[], object]) -> None:
        """Run a command; if it is refused, check that nothing was written."""
        before = self.store.log.head().position
        try:
            act()
        except (RefusedError, NoSuchJobError) as error:
            if self.store.log.head().position != before and not self.nested and not self.fate.interrupted:
                raise InvariantError(f"refused, but written: {error}") from error
        except StoreError:
            return

    # ── what commands do ────────────────────────────────────────────────────────────────────────────

    def script(self, job: Job) -> Script:
        """The script of this run; it depends only on the seed and the run."""
        rng = random.Random(f"{self.seed}/{job.id}/{job.run}")
        if rng.random() < 0.05:
            return Script(why_not="No such file or directory")
        for_ever = job.spec.timeout is not None and rng.random() < 0.3
        usual = QUICK if self.quick else [1_000, 50_000, 300_000, SECOND, 4 * SECOND, 15 * SECOND]
        return Script(
            lasts=FOR_EVER if for_ever else rng.choice(usual),
            cause=rng.choice([None, None, None, Exited(1), Exited(7), Signalled(11)]),
            obeys=rng.choice([0, 0, 300_000, 2 * SECOND, None]),
            signalled=rng.choice([Signalled(15), Exited(143), None]),
            background=rng.choice([0, 0, 0, 0, 0, 0, SECOND, FOR_EVER]),
            background_obeys=rng.random() < 0.5,
        )

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        """Stop all faults and drain the queue: every job ends, however far away its due time is."""
        self.fate, self.full_until = Fate(), 0
        for process in self.workers:
            process.resumes_at = process.resumes_at and self.clock.monotonic()
            process.stops += 1
            with self.inside(process):
                process.worker.stop()
        self.resume()
        for queue in (*QUEUES, PAUSE_ALL):
            self.user.resume(queue)
        last = [
            self.add_worker(namespace=place + 1, host=host, slots=4, lease=self.lease, drain=True)
            for host in range(len(self.world.hosts))
            for place in range(self.namespaces)
        ]
        end = self.clock.monotonic() - self.rested + SETTLED_WITHIN
        while any(process.alive for process in last):
            self.steps += 1
            self.rest()
            self.tick_next()
            self.oracle.check()
            if self.clock.monotonic() - self.rested > end:
                raise InvariantError(f"without misfortunes, these still have not ended: {self.oracle.live()}")


def _is_busy(process: WorkerProcess) -> bool:
    """Whether the worker has a job or a process to handle."""
    return bool(process.commands.runs or process.commands.leftovers or process.worker.slots)
