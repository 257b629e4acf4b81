"""Simulated years of schedules: real schedulers of several workers, in virtual time, on one store.

The seed draws zones, expressions and options. Schedulers are killed at every point of a transaction, nobody works for
days, the wall clock jumps, schedules are paused, changed, removed and run by hand. In the end the audit has to be clean
and the tables have to be what the log says.
"""

import random
from contextlib import suppress
from zoneinfo import available_timezones

from queuectl.application.queue import Queue
from queuectl.application.schedules import Put, Schedules
from queuectl.checks.audit import Audit, audit
from queuectl.domain import commands as c
from queuectl.domain import events as e
from queuectl.domain.machine import State
from queuectl.store import open_store
from queuectl.store.rows import JobFilter
from queuectl.worker.scheduler import Scheduler
from tests.simulation.driver import spec
from tests.simulation.hosts import SECOND, VirtualClock
from tests.simulation.mortal import Killed, Mortal
from tests.support.events import claimant

__all__ = ["DAY", "SimulatedYear", "zones"]

MINUTE = 60 * SECOND
HOUR, DAY = 60 * MINUTE, 24 * 60 * MINUTE
YEAR = 365 * DAY
WORKERS = 2


def zones(number: int = 40) -> list[str]:
    """So many zones of all continents, always the same, the odd ones among them."""
    odd = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "UTC"]
    odd += ["America/St_Johns", "Asia/Kathmandu", "Pacific/Chatham", "Europe/Dublin", "Antarctica/Troll"]
    others = sorted(name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", *odd)))
    return odd + random.Random(1).sample(others, number - len(odd))


class SimulatedYear:
    """One seed. `run` lets the time pass and returns the audit; `died` counts the kills."""

    def __init__(self, seed: int, url: str = ":memory:") -> None:
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.clock.elapsed = self.rng.randrange(YEAR)
        self.store = open_store(url, self.clock)
        self.user = Schedules(Queue(self.store, "user@node:1"))
        self.mortality = self.rng.choice([0, 0.02, 0.1])
        self.workers = [self._worker(number) for number in range(WORKERS)]
        self.died = self.jumps = 0
        self.ends: list[tuple[int, str, int]] = []
        self.names = [f"s{number}" for number in range(self.rng.randint(1, 3))]
        for name in self.names:
            self.set(name)

    def _worker(self, number: int) -> Scheduler:
        return Scheduler(Queue(Mortal(self.store, self._visit), f"w{number}"), self.clock)

    def _visit(self) -> None:
        if self.rng.random() < self.mortality:
            raise Killed

    # ── what people do ──────────────────────────────────────────────────────────────────────────────

    def set(self, name: str) -> None:
        """Add or change a schedule."""
        with suppress(StopIteration):
            self.user.add(Put(name, self._definition(), paused=self.rng.random() < 0.05), change=True)

    def _definition(self) -> e.ScheduleSet:
        rng, now = self.rng, self.clock.now()
        when = {"cron": self._expression(), "tz": rng.choice(zones())}
        if rng.random() < 0.15:
            when = {"every": rng.choice([7 * HOUR, DAY + 1, 90 * MINUTE]), "start": now + rng.randrange(-DAY, DAY)}
        overlap = rng.choice(["skip", "queue", "allow"])
        return e.ScheduleSet(
            job=spec(unique="key" if rng.random() < 0.1 else None),
            overlap=overlap,
            catch_up=rng.choice(["latest", "none"] if overlap == "skip" else ["latest", "none", "all"]),
            within=rng.choice([HOUR, DAY, 3 * DAY]),
            grace=rng.choice([0, MINUTE, HOUR]),
            spread=HOUR,
            offset=rng.choice([0, 0, rng.randrange(3600) * SECOND]),
            until=now + rng.randrange(YEAR) if rng.random() < 0.1 else None,
            **when,
        )

    def _expression(self) -> str:
        rng = self.rng
        minute, hour = str(rng.randrange(60)), str(rng.choice([0, 1, 1, 2, 2, 2, 3, 3, rng.randrange(24)]))
        return rng.choice([
            *(f"{minute} {hour} * * *", f"{minute} {hour},{rng.randrange(24)} * * *"),
            *(f"{minute} */6 * * *", f"*/20 {hour} * * *", f"{minute} {hour} * * MON-FRI", f"{minute} {hour} L * *"),
            *(f"{minute} {hour} {rng.randint(1, 28)} * SUN", f"{minute} * {rng.randint(25, 31)} * *"),
        ])  # fmt: skip

    def _happen(self) -> None:
        """Something that people or machines do."""
        name, user, rng = self.rng.choice(self.names), self.user, self.rng
        there = self.store.schedules.named(name)
        if there is None:
            self.set(name)
            return
        what = rng.choice(["pause", "resume", "resume", "set", "remove", "run", "jump", "nothing", "nothing"])
        if what in ("pause", "resume", "remove"):
            getattr(user, what)([name])
        elif what == "set" and rng.random() < 0.3:
            self.set(name)
        elif what == "run":
            user.run(name)
        elif what == "jump":
            self.jumps += 1
            self.clock.jumped = rng.choice([-2 * HOUR, 0, 0, 3 * HOUR, 40 * SECOND])

    # ── time ────────────────────────────────────────────────────────────────────────────────────────

    def run(self, years: float = 1.0) -> Audit:
        """Let the time pass; the audit of the log."""
        end = self.clock.elapsed + int(years * YEAR)
        while self.clock.elapsed < end:
            self.clock.advance(self._pause())
            if self.rng.random() < 0.03:
                self._happen()
            self._work()
        differences = self.store.upkeep.compare()
        assert differences.total == 0, differences.first
        return audit(self.store.log.records())

    def _pause(self) -> int:
        """Until the next slot, mostly a little later; now and then nobody works for days."""
        if self.rng.random() < 0.01:
            return self.rng.randrange(5 * DAY)
        now = self.clock.now()
        following = self.store.schedules.next_slot(now)
        wait = 6 * HOUR if following is None else min(following - now, 12 * HOUR)
        return wait + self.rng.choice([0, 1, 20_000, SECOND, 90 * SECOND])

    def _work(self) -> None:
        self._end_jobs()
        for number in self.rng.sample(range(WORKERS), WORKERS):
            try:
                for _ in range(3):
                    self.workers[number].tick(self.clock.monotonic(), True)
                    self.clock.advance(self.rng.choice([0, SECOND]))
            except Killed:
                self.died += 1
                self.workers[number] = self._worker(number)
        self._start_jobs()

    def _start_jobs(self) -> None:
        """Claim what is pending, but not always: a queue may be paused."""
        if self.rng.random() < 0.1:
            return
        queue = Queue(self.store, "w")
        for job in queue.claim(claimant(), (), 100, lambda job: True):
            lasts = self.rng.choice([SECOND, MINUTE, HOUR, 30 * HOUR])
            self.ends.append((self.clock.elapsed + lasts, job.id, job.run))

    def _end_jobs(self) -> None:
        over = [each for each in self.ends if each[0] <= self.clock.elapsed]
        self.ends = [each for each in self.ends if each[0] > self.clock.elapsed]
        for _, job_id, run in over:
            Queue(self.store, "w").execute([c.Report(job_id, run, c.Exit())])
        if self.store.tables.jobs(JobFilter(states=(State.DONE,), limit=1)):
            done = self.store.tables.ids(JobFilter(states=(State.DONE,), limit=0))
            if len(done) > 50:
                Queue(self.store, "w").purge(done)

    def close(self) -> None:
        """Drop the store."""
        self.store.close()
