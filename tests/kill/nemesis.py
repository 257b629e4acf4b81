"""Eight workers that are suspended, killed and given a wrong clock, and jobs that check that they run alone.

A job holds the lock of its own file as long as its process lives; a process that does not get it exits with 99.
"""

import json
import math
import mmap
import os
import signal
import struct
import time
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct, field

from queuectl.runtime import SystemClock
from queuectl.units import SECOND
from queuectl.worker.stop_signals import SAME_REQUEST, STOP_NOW
from tests.kill.victims import Build, Victim, preload, start
from tests.support.command_line import query
from tests.support.oracle import Acknowledged, faults, log_id, orphans, rows

__all__ = ["JOBS", "Arena"]

JOBS = 2_000
"""In one round."""
WORKERS, SLOTS = 8, 2
LEASE = 1.0
PATIENCE = 120.0
"""Seconds in which all jobs have to be done."""
NOT_ALONE = 99
HOUR, YEAR = 3600 * 1_000_000, 365 * 86_400 * 1_000_000
JUMPS = (0, HOUR, -HOUR, YEAR, -YEAR)
SLOW = 0.01
"""How many jobs last long enough for their worker to be given up meanwhile."""
SECOND_REQUESTS = ((signal.SIGTERM, SAME_REQUEST / SECOND), (STOP_NOW, 0.0))
"""The signals that make a worker stop what it runs, and how many seconds they come after the first request."""
ENDED_BY_US = (-signal.SIGKILL, -signal.SIGTERM, -STOP_NOW)
"""The last two: when they come before the worker handles them."""
_OFFSET = struct.Struct("q")


class Arena(Struct):
    """One round: a queue with jobs and workers, the faults that are injected, and their results."""

    place: Path
    rng: Random
    build: Build | None = None
    slow: float = SLOW
    workers: dict[int, Victim] = field(default_factory=dict)
    stopped: dict[int, float] = field(default_factory=dict)
    clock: Any = field(default_factory=lambda: mmap.mmap(-1, _OFFSET.size))
    started: int = 0
    stops: int = 0
    ends: int = 0
    kills: int = 0
    jumps: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def db(self) -> str:
        """The path of the database."""
        return str(self.place / "queue.db")

    def fight(self, jobs: int) -> None:
        """Run until every job is done, or until a time limit."""
        preload()
        self._enqueue(jobs)
        for _ in range(WORKERS):
            self._start_worker()
        deadline = time.monotonic() + PATIENCE
        while self._left():
            if time.monotonic() > deadline:
                self.faults.append(f"stuck: not every job is through after {PATIENCE:.0f} s")
                break
            self._strike()
            self._pass_by(self.rng.uniform(0.1, 0.8))
        self._stop_workers()

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────

    def _enqueue(self, jobs: int) -> None:
        file = self.place / "jobs"
        file.write_text("".join(f"{json.dumps(self._job(number))}\n" for number in range(jobs)), encoding="utf-8")
        victim = start(["--db", self.db, "enqueue", "--file", str(file)], self.place, "enqueue", [self._set_clock])
        os.waitpid(victim.pid, 0)
        if len(victim.printed()) != jobs:
            self.faults.append("exit: `enqueue` did not add the jobs")

    def _job(self, number: int) -> dict[str, Any]:
        lasts = self.rng.uniform(0.3, 2 * LEASE) if self.rng.random() < self.slow else self.rng.uniform(0, 0.01)
        alone = ["flock", "--no-fork", "--nonblock", "--conflict-exit-code", str(NOT_ALONE), f"lock-{number}"]
        delay = {"delay": "200ms"} if self.rng.random() < 0.1 else {}
        how = {"max_retries": 1000, "backoff_base": 0, **delay}
        return {"id": f"job-{number}", "argv": [*alone, "sleep", f"{lasts:.3f}"], **how}

    def _left(self) -> int:
        """The number of jobs that are not done yet."""
        found = query(
            Path(self.db), "SELECT coalesce(sum(jobs), 0) FROM counts WHERE state IN ('pending', 'processing')"
        )
        return int(found[0][0])

    # ── workers ─────────────────────────────────────────────────────────────────────────────────────

    def _start_worker(self) -> None:
        self.started += 1
        name = f"worker-{self.started}"
        arguments = ["--db", self.db, "run", "--name", name, "--concurrency", str(SLOTS), "--log-level", "warning"]
        builds = [_short_lease, self._set_clock, *([self.build] if self.build else [])]
        worker = start(arguments, self.place, name, builds)
        self.workers[worker.pid] = worker

    def _set_clock(self) -> None:
        """Make all processes use the wall clock that `_strike` sets."""
        now = SystemClock.now
        SystemClock.now = lambda clock: now(clock) + _OFFSET.unpack(self.clock)[0]  # type: ignore[method-assign]

    # ── the nemesis ─────────────────────────────────────────────────────────────────────────────────────

    def _strike(self) -> None:
        """Suspend a worker for a while, kill one, ask one to stop once or twice, or set the clock."""
        what = self.rng.random()
        running = [pid for pid in self.workers if pid not in self.stopped]
        if what < 0.6 and len(running) > 1:
            pid = self.rng.choice(running)
            os.kill(pid, signal.SIGSTOP)
            self.stopped[pid] = time.monotonic() + self.rng.uniform(0.1, 3) * LEASE
            self.stops += 1
        elif what < 0.8:
            os.kill(self.rng.choice([*self.workers]), signal.SIGKILL)
        elif what < 0.9:
            self._ask_to_end(self.rng.choice([*self.workers]))
        else:
            _OFFSET.pack_into(self.clock, 0, self.rng.choice(JUMPS))
            self.jumps += 1

    def _ask_to_end(self, pid: int) -> None:
        """Ask a worker to stop: it lets its jobs finish, and a second request releases those that still run."""
        self.ends += 1
        os.kill(pid, signal.SIGTERM)
        if self.rng.random() < 0.5:
            number, wait = self.rng.choice(SECOND_REQUESTS)
            self._pass_by(wait + self.rng.uniform(0, 0.1))
            if pid in self.workers:
                os.kill(pid, number)

    def _pass_by(self, seconds: float) -> None:
        """Let time pass: suspended workers continue, ended ones are replaced."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._resume_due(time.monotonic())
            self._replace()
            time.sleep(0.01)

    def _resume_due(self, now: float) -> None:
        for pid in [pid for pid, when in self.stopped.items() if now >= when]:
            os.kill(pid, signal.SIGCONT)
            del self.stopped[pid]

    def _replace(self) -> None:
        for pid in [*self.workers]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._ended(self.workers.pop(pid), os.waitstatus_to_exitcode(status))
                self.stopped.pop(pid, None)
                self._start_worker()

    def _ended(self, worker: Victim, code: int) -> None:
        self.kills += code == -signal.SIGKILL
        if code != 0 and code not in ENDED_BY_US:
            self.faults.append(f"exit: a worker ended with exit code {code}: {worker.last_error_line()}")
        if "Traceback" in worker.err.read_text(encoding="utf-8"):
            self.faults.append(f"traceback: a worker showed one: {worker.last_error_line()}")

    def _stop_workers(self) -> None:
        """No more faults: let all workers continue, and stop them gracefully."""
        self._resume_due(math.inf)
        for pid in self.workers:
            os.kill(pid, signal.SIGTERM)
        for pid, worker in self.workers.items():
            self._ended(worker, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        self.workers.clear()

    # ── what there is then ──────────────────────────────────────────────────────────────────────────────

    def look(self, jobs: int) -> None:
        """Check the jobs' files and the log."""
        log = rows(self.db)
        ended = [row for row in log if row["type"] in ("retry_scheduled", "dead_lettered")]
        causes = [json.loads(row["data"])["cause"] for row in ended]
        if {"kind": "exited", "code": NOT_ALONE} in causes:
            self.faults.append("twice: a run was not alone")
        if sum(row["type"] == "completed" for row in log) != jobs:
            self.faults.append("stuck: not every job is done")
        acknowledged = Acknowledged([f"job-{number}" for number in range(jobs)])
        self.faults += faults(self.db, acknowledged)

    def leave(self) -> None:
        """End all processes."""
        for pid in self.workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.workers.clear()
        for pid in orphans(log_id(self.db)) if os.path.exists(self.db) else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.clock.close()


def _short_lease() -> None:
    """Use a lease that is shorter than the setting allows, so that many leases expire."""
    module = import_module("queuectl.worker.foreground")
    run = module.Foreground.run

    def hurried(worker: Any) -> None:
        worker.options = replace(worker.options, lease=int(LEASE * 1_000_000), grace=200_000)
        run(worker)

    module.Foreground.run = hurried  # type: ignore[attr-defined]
