"""A seeded scheduler: workers, people and misfortune take turns, and after each step the oracle looks.

Which misfortunes there are, and how often, is drawn from the seed too: a run that has them all hides some.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from queuectl.application import NewJob, Queue
from queuectl.domain.events import Enqueued, Exited, RecordedEvent, Signalled
from queuectl.domain.job import Job
from queuectl.errors import NoSuchJobError, RefusedError, StoreBusyError
from queuectl.store.base import PAUSE_ALL
from tests.simulation.connection import COMMITTED, Connection
from tests.simulation.driver import Crashed, Driver, spec
from tests.simulation.invariants import InvariantError, Oracle
from tests.simulation.world import FOR_EVER, SECOND, Script, WorkerProcess

__all__ = ["STEPS", "Simulation"]

STEPS = 300
SETTLED_WITHIN = 600 * SECOND
QUEUES = ("default", "mail", "slow")
COMMANDS = frozenset({"reserve", "start", "started", "ended", "end", "end_leftovers", "clear"})
"""Points at which no store is asked, so none can be busy."""


@dataclass(slots=True)
class Misfortune:
    """How likely it is, at each call of a process to the outside, that it goes no further."""

    crash: float = 0
    busy: float = 0
    interrupted: float = 0
    commit_reported_failed: bool = False


class Simulation(Driver):
    """One seed. `run` gives the log, or raises InvariantError."""

    def __init__(self, seed: int, steps: int = STEPS) -> None:
        self.rng = rng = random.Random(seed)
        super().__init__(keeps_lock=rng.random() < 0.5, seed=seed)
        self.seed, self.steps_left = seed, steps
        self.misfortune = Misfortune(
            crash=rng.choice([0, 0.0005, 0.002]),
            busy=rng.choice([0, 0.01, 0.1]),
            interrupted=rng.choice([0, 0.005, 0.02]),
            commit_reported_failed=rng.random() < 0.3,
        )
        self.lease = rng.choice([3, 8, 30]) * SECOND
        self.namespaces = rng.choice([1, 1, 2])
        self.nested = False
        self.added = 0
        self.oracle = Oracle(self)
        self.user = Queue(Connection(self.shared, partial(self.visit, None)), self.user.actor)

    def run_all(self) -> list[RecordedEvent]:
        """All steps, then the end without misfortunes; the log."""
        while self.steps_left > 0:
            self.step()
        self.settle()
        return self.oracle.finish()

    # ── one step ────────────────────────────────────────────────────────────────────────────────────

    def step(self) -> None:
        """Somebody does something, or the next worker has its turn."""
        self.steps_left -= 1
        if self.rng.random() < 0.3:
            self.clock.advance(self.rng.randrange(200_000))
            self.rng.choices(ACTIONS, WEIGHTS)[0](self)
        elif not self.tick_next():
            self.clock.advance(SECOND)
        self.resume()
        self.oracle.check()

    def tick(self, process: WorkerProcess) -> None:
        """One tick, of which the oracle takes note."""
        super().tick(process)
        self.oracle.ticked(process.row.pid)

    def resume(self) -> None:
        """Paused workers whose time has come go on."""
        for process in self.workers:
            if process.resumes_at is not None and process.resumes_at <= self.clock.monotonic():
                process.resumes_at = None
                process.wants = self.clock.monotonic()

    def wake(self) -> None:
        """A wake-up is a hint: it may get lost."""
        if self.rng.random() < 0.7:
            super().wake()

    def leave(self, process: WorkerProcess) -> None:
        """A worker that is through leaves nothing behind, and a draining one no work."""
        left = process.commands.runs or process.commands.leftovers
        if left:
            raise InvariantError(f"{process.row.name} ends, but {left} are left")
        if process.options.drain and not (process.options.once or process.stops) and (work := self._work_for(process)):
            raise InvariantError(f"{process.row.name} has drained its queues, but for {work}")
        super().leave(process)

    def _work_for(self, process: WorkerProcess) -> list[str]:
        self.oracle.read_on()
        paused, queues, jobs = self.oracle.paused, process.options.queues, self.oracle.jobs
        return [
            job_id
            for job_id in self.oracle.live()
            if (not queues or jobs[job_id].spec.queue in queues)
            and not (jobs[job_id].state == "pending" and paused & {PAUSE_ALL, jobs[job_id].spec.queue})
        ]

    # ── misfortunes ─────────────────────────────────────────────────────────────────────────────────

    def visit(self, process: WorkerProcess | None, point: str) -> None:
        """At this call the process may die, meet a locked store, or be stopped short while others go on."""
        luck, fate = self.rng.random(), self.misfortune
        if process and luck < fate.crash:
            raise Crashed
        luck -= fate.crash
        if luck < fate.busy:
            self._be_busy(process, point)
        elif luck < fate.busy + fate.interrupted and not self.nested and not self.shared.locked:
            self._let_others_go_first()
        if process and not process.alive:
            raise Crashed

    def _be_busy(self, process: WorkerProcess | None, point: str) -> None:
        if point in COMMANDS or (process and not process.steady):
            return
        if point == COMMITTED and not self.misfortune.commit_reported_failed:
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

    # ── what people do ──────────────────────────────────────────────────────────────────────────────

    def attempt(self, act: Callable[[], object]) -> None:
        """What a person asks may be refused; then nothing is written."""
        before = self.store.head().position
        try:
            act()
        except (RefusedError, NoSuchJobError) as error:
            if self.store.head().position != before and not self.nested and not self.misfortune.interrupted:
                raise InvariantError(f"refused, but written: {error}") from error
        except StoreBusyError:
            return

    def enqueue_some(self) -> None:
        """New jobs, sometimes an id that is known."""
        rng = self.rng
        jobs = []
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            fresh = not self.added or rng.random() < 0.9
            number = self.added = self.added + 1 if fresh else self.added
            job_id = f"job-{number}" if fresh else f"job-{rng.randrange(1, number + 1)}"
            jobs.append(NewJob(self._promises(), job_id))
        self.attempt(lambda: self.user.enqueue(jobs))

    def _promises(self) -> Enqueued:
        rng = self.rng
        return spec(
            queue=rng.choice(QUEUES),
            priority=rng.choice([0, 0, 0, 1, 5, -3]),
            max_retries=rng.choice([0, 1, 1, 2, 3]),
            backoff_base=rng.choice([1.0, 2.0]),
            backoff_cap=2 * SECOND,
            timeout=rng.choice([None, SECOND, 2 * SECOND, 3 * SECOND]),
            delay=rng.choice([0, 0, 0, 500_000, 3 * SECOND, 8 * SECOND]),
            unique=rng.choice([None, None, None, "a", "b"]),
        )

    def script(self, job: Job) -> Script:
        """What this run does; it depends on nothing but the seed and the run."""
        rng = random.Random(f"{self.seed}/{job.id}/{job.run}")
        if rng.random() < 0.05:
            return Script(why_not="No such file or directory")
        for_ever = job.spec.timeout is not None and rng.random() < 0.3
        return Script(
            lasts=FOR_EVER if for_ever else rng.choice([1_000, 50_000, 300_000, SECOND, 4 * SECOND]),
            cause=rng.choice([None, None, None, Exited(1), Exited(7), Signalled(11)]),
            obeys=rng.choice([0, 0, 300_000, 2 * SECOND, None]),
            told=rng.choice([Signalled(15), Exited(143), None]),
            background=rng.choice([0, 0, 0, 0, 0, 0, SECOND, FOR_EVER]),
            background_obeys=rng.random() < 0.5,
        )

    def some_job(self, *states: str) -> list[str]:
        """One job, rather in one of these states."""
        jobs = self.oracle.jobs
        rather = [job_id for job_id, known in jobs.items() if known.state in states]
        choice = rather if rather and self.rng.random() < 0.9 else list(jobs)
        return [self.rng.choice(choice)] if choice else []

    def cancel(self) -> None:
        """Call a job off."""
        self.attempt(lambda: self.user.cancel(self.some_job("pending", "processing", "processing"), "no longer"))

    def requeue(self) -> None:
        """Run a finished job again."""
        self.attempt(lambda: self.user.requeue(self.some_job("dlq", "done", "cancelled", "purged"), "again"))

    def purge(self) -> None:
        """Take a finished job out of the tables."""
        self.attempt(lambda: self.user.purge(self.some_job("dlq", "done", "cancelled")))

    def pause_queue(self) -> None:
        """Stop claiming."""
        queue = self.rng.choice([*QUEUES, PAUSE_ALL])
        self.attempt(lambda: self.user.pause(queue))

    def resume_queue(self) -> None:
        """Go on claiming."""
        queue = self.rng.choice([*QUEUES, PAUSE_ALL])
        self.attempt(lambda: self.user.resume(queue))

    # ── what happens to workers ─────────────────────────────────────────────────────────────────────

    def some_worker(self) -> WorkerProcess | None:
        """A worker that is between two ticks."""
        ready = [process for process in self.workers if process.healthy]
        return self.rng.choice(ready) if ready else None

    def new_worker(self) -> None:
        """One more, up to four."""
        rng = self.rng
        if len(self.workers) < 4:
            self.add_worker(
                namespace=rng.randrange(self.namespaces) + 1,
                slots=rng.choice([1, 2, 4]),
                queues=frozenset(rng.choice([(), (), ("default",), ("mail", "slow")])),
                grace=rng.choice([1, 3]) * SECOND,
                lease=self.lease,
                drain=rng.random() < 0.1,
                once=rng.random() < 0.05,
            )

    def crash_worker(self) -> None:
        """kill -9."""
        if process := self.some_worker():
            process.alive = False

    def pause_worker(self) -> None:
        """SIGSTOP, for less or more than its lease; then SIGCONT. One that runs something has more to lose by it."""
        busy = [process for process in self.workers if process.healthy and process.worker.slots]
        if process := self.rng.choice(busy) if busy else self.some_worker():
            process.resumes_at = self.clock.monotonic() + round(self.lease * self.rng.uniform(0.1, 3))

    def stop_worker(self) -> None:
        """SIGTERM or `worker stop`, once or twice."""
        if process := self.some_worker():
            for _ in range(self.rng.choice([1, 2])):
                process.stops += 1
                if self.rng.random() < 0.5:
                    process.worker.stop()
                    process.wants = self.clock.monotonic()
                else:
                    self.attempt(lambda: self.user.store.ask_to_stop(process.row.name))

    def jump(self) -> None:
        """Somebody sets the wall clock."""
        self.clock.jumped += self.rng.choice([-3600, -1, 1, 3600]) * SECOND

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        """No more misfortunes: a last worker drains the queue, and every job ends."""
        self.misfortune = Misfortune()
        for process in self.workers:
            process.resumes_at = process.resumes_at and self.clock.monotonic()
            process.stops += 1
            process.worker.stop()
        self.resume()
        for queue in (*QUEUES, PAUSE_ALL):
            self.user.resume(queue)
        places = [
            self.add_worker(namespace=place + 1, slots=4, lease=self.lease, drain=True)
            for place in range(self.namespaces)
        ]
        end = self.clock.monotonic() + SETTLED_WITHIN
        while any(process.alive for process in places):
            self.tick_next()
            self.oracle.check()
            if self.clock.monotonic() > end:
                raise InvariantError(f"without misfortunes, these still have not ended: {self.oracle.live()}")


ACTIONS: list[Callable[[Simulation], None]] = [
    Simulation.enqueue_some,
    Simulation.cancel,
    Simulation.requeue,
    Simulation.purge,
    Simulation.pause_queue,
    Simulation.resume_queue,
    Simulation.new_worker,
    Simulation.crash_worker,
    Simulation.pause_worker,
    Simulation.stop_worker,
    Simulation.jump,
]
WEIGHTS = [12, 3, 3, 1, 0.6, 1.2, 2.5, 0.8, 2.5, 0.7, 0.3]
