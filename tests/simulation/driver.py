"""Drives workers on one shared store in virtual time: the worker with the earliest next tick is called first."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from queuectl.application.queue import NewJob, Queue
from queuectl.domain.events import Enqueued, RecordedEvent
from queuectl.domain.job import Job
from queuectl.errors import StoreError
from queuectl.store import open_store
from queuectl.store.rows import WorkerRow
from queuectl.worker.loop import Worker
from queuectl.worker.options import WorkerOptions
from tests.simulation.connection import Connection, Shared
from tests.simulation.hosts import SECOND, Host
from tests.simulation.world import Script, SimulatedCommands, WorkerProcess, World

__all__ = ["Crashed", "Driver", "spec"]

TICK = 200
"""The length of one tick in microseconds: time never stands still."""


class Crashed(BaseException):
    """The worker's process was killed; nothing in it runs any more."""


def spec(**changes: Any) -> Enqueued:
    """The specification of a job, with defaults for all that a test does not give."""
    promised = {
        "command": "work",
        "queue": "default",
        "priority": 0,
        "max_retries": 3,
        "backoff_base": 2.0,
        "backoff_cap": 60 * SECOND,
        "jitter": False,
        "cwd": "/",
    }
    return Enqueued(**{**promised, **changes})


class Driver:
    """A queue, its workers and their world. `scripts` has a job's behaviour for each run (the last one repeats)."""

    def __init__(self, *, keeps_lock: bool = True, seed: int = 0, hosts: int = 1, url: str = ":memory:") -> None:
        self.world = World(keeps_lock=keeps_lock, hosts=hosts)
        self.clock = self.world.clock
        self.shared = Shared(open_store(url, self.clock), self.clock)
        self.store = self.shared.store
        self.scripts: dict[str, list[Script]] = {}
        self.world.script = self.script
        self.shared.wake = self.wake
        self.user = Queue(Connection(self.shared), "user@node:1")
        self.rng = random.Random(seed)
        self.fault: Callable[[WorkerProcess | None, str], None] = lambda process, point: None

    @property
    def workers(self) -> list[WorkerProcess]:
        """The living worker processes."""
        return [process for process in self.world.workers.values() if process.alive]

    def script(self, job: Job) -> Script:
        """The script of this run of the job."""
        scripts = self.scripts.get(job.id, [Script()])
        return scripts[min(job.run, len(scripts)) - 1]

    def enqueue(self, job_id: str, *scripts: Script, **promised: Any) -> None:
        """Add a job with these scripts."""
        self.scripts[job_id] = list(scripts) or [Script()]
        self.user.enqueue([NewJob(spec(**promised), job_id)])

    def add_worker(self, *, namespace: int = 1, host: int = 0, uid: int | None = None, **options: Any) -> WorkerProcess:
        """Start a worker."""
        asked, place = WorkerOptions(**options), self.world.hosts[host]
        row = self._row(asked, place, namespace)
        visit = partial(self._visit, row.pid)
        commands = SimulatedCommands(self.world, row, visit, uid)
        queue = Queue(Connection(self.shared, visit), row.name)
        worker = Worker(queue, commands, place, self.rng.random, row, asked)
        now = self.clock.monotonic()
        process = WorkerProcess(row, asked, commands, worker, now - place.monotonic(), wants=now)
        self.world.workers[row.pid] = process
        with self.inside(process):
            worker.start()
        process.steady = True
        return process

    def _row(self, options: WorkerOptions, host: Host, namespace: int) -> WorkerRow:
        number = len(self.world.workers) + 1
        seconds = self.clock.now() // SECOND
        return WorkerRow(
            name=f"w{number}",
            host=host.name,
            boot_id=host.boot_id,
            pid=100 + number,
            pid_namespace=namespace,
            pid_started_at=number,
            slots=options.slots,
            queues=tuple(sorted(options.queues)),
            started_at=seconds,
            last_heartbeat=seconds,
            beat_at=0,
        )

    def _visit(self, pid: int, point: str) -> None:
        self.visit(self.world.workers.get(pid), point)

    def visit(self, process: WorkerProcess | None, point: str) -> None:
        """Called before each call of a worker to its store or its commands; subclasses inject faults here."""
        self.fault(process, point)

    def wake(self) -> None:
        """Wake idle workers: something was written that gives them work."""
        for process in self.workers:
            process.wants = min(process.wants, self.clock.monotonic())

    @contextmanager
    def inside(self, process: WorkerProcess) -> Iterator[None]:
        """Run as the worker's process; an error may end it."""
        process.inside = True
        try:
            yield
        except Crashed:
            process.alive = False
        except StoreError:
            self._end_after_store_error(process)
        finally:
            process.inside = False

    def _end_after_store_error(self, process: WorkerProcess) -> None:
        """End the worker as `run` does when the store cannot be used."""
        with suppress(Crashed):
            process.worker.kill()
        process.alive = False

    # ── time ────────────────────────────────────────────────────────────────────────────────────────

    def tick_next(self) -> bool:
        """Advance the clock to the earliest next tick and call that worker; False when there is no worker."""
        ready = [process for process in self.workers if process.healthy]
        if not ready:
            return False
        process = min(ready, key=WorkerProcess.next_tick)
        self.clock.advance(process.next_tick() - self.clock.monotonic())
        self.tick(process)
        return True

    def tick(self, process: WorkerProcess) -> None:
        """One tick of this worker, as `run` calls it."""
        process.ticked_at = self.clock.monotonic()
        with self.inside(process):
            delay = process.worker.tick()
            self.clock.advance(TICK)
            if delay is None:
                self.leave(process)
            else:
                process.wants = self.clock.monotonic() + round(delay * SECOND)

    def leave(self, process: WorkerProcess) -> None:
        """The worker has ended."""
        process.steady = False
        if process.worker.failure is None:
            process.worker.finish()
        process.alive = False

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, done: Callable[[], bool], seconds: float = 600) -> bool:
        """Let time pass until `done`; False when that takes longer."""
        end = self.clock.monotonic() + round(seconds * SECOND)
        while not done():
            moments = [process.next_tick() for process in self.workers if process.healthy]
            if not moments or min(moments) > end:
                self.clock.advance(end - self.clock.monotonic())
                return done()
            self.tick_next()
        return True

    def damage(self, job_id: str, version: int) -> None:
        """Change a byte of one stored event."""
        self.store.engine.run("DROP TRIGGER IF EXISTS events_refuse_update")
        changed = "UPDATE events SET data = replace(data, ':', ': ') WHERE stream_id = ? AND version = ?"
        self.store.engine.run(changed, (job_id, version))

    # ── what the log says ───────────────────────────────────────────────────────────────────────────

    def state(self, job_id: str) -> str:
        """The job's state."""
        job = self.store.log.load(job_id)
        return "" if job is None else job.state.value

    def history(self, job_id: str) -> list[str]:
        """The types of the job's events."""
        return [record.type for record in self.records(job_id)]

    def records(self, job_id: str) -> list[RecordedEvent]:
        """The job's events."""
        return list(self.store.log.records(stream_id=job_id))
