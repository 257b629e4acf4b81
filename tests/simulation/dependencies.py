"""Simulated years of jobs that wait for jobs: random graphs, in virtual time, on one store.

The seed draws graphs with batches, and then what happens to them: runs that end well or badly, cancels, retries,
purges, jobs that are started without waiting, edits of what they wait for and of what happens when that cannot be met,
and kills at every point of a transaction. After each of these an oracle with rules of its own says which jobs wait,
which of them are held, whether each start and each cancel was right, and that none waits for itself.
"""

import random
from contextlib import suppress

from queuectl.application.dependencies import resolved
from queuectl.application.editing import Edit, Editor
from queuectl.application.job_json import JobInput
from queuectl.application.queue import NewJob, Queue
from queuectl.checks.audit import Audit, audit
from queuectl.config import Config
from queuectl.domain import commands as c
from queuectl.domain.events import After, Exited
from queuectl.domain.machine import State
from queuectl.errors import NoSuchJobError, RefusedError, UsageError
from queuectl.store import open_store
from queuectl.store.rows import JobFilter
from tests.simulation.driver import spec
from tests.simulation.hosts import SECOND, VirtualClock
from tests.simulation.mortal import Killed, Mortal
from tests.support.events import claimant

__all__ = ["DAY", "Oracle", "SimulatedGraph"]

HOUR, DAY = 3600 * SECOND, 24 * 3600 * SECOND
STEPS = 400


class Oracle:
    """Reads the log from its own place, and applies its own rules. `faults` are sentences."""

    def __init__(self) -> None:
        self.position = 0
        self.state: dict[str, str] = {}
        self.end: dict[str, str | None] = {}
        self.batch: dict[str, str | None] = {}
        self.after: dict[str, list[After]] = {}
        self.gives_up: dict[str, bool] = {}
        self.waiting: set[str] = set()
        self.faults: list[str] = []
        self.edits = self.edits_of_if_unmet = 0

    def read(self, store) -> None:
        """Take the events that are new, then check that nobody waits who could start."""
        for record in store.log.records(after=self.position):
            self.position = record.position
            if not record.stream_id.startswith("$"):
                self._take(record.stream_id, record.type, record.event)
        for job in self.waiting:
            if self.state[job] == "pending" and self._all_met(job):
                self.faults.append("a job waits although all is met")

    def _take(self, job, kind, event):
        if kind == "enqueued":
            self.batch[job], self.after[job] = event.batch, list(event.after)
            self.state[job], self.end[job] = "pending", None
            self.gives_up[job] = event.if_unmet == "cancel"
            if event.after:
                self.waiting.add(job)
            self._check_cycle(job)
        elif kind == "dependencies_met":
            self._freed(job, event)
        elif kind == "amended":
            self._take_edit(job, event.changes)
        elif kind == "claimed":
            if job in self.waiting:
                self.faults.append("a job was claimed before it was freed")
            self.state[job] = "processing"
        elif kind in ("retry_scheduled", "released", "requeued"):
            self.state[job], self.end[job] = "pending", None
            self._check_cycle(job)
        elif kind == "purged":
            self.state[job] = "purged"
        elif kind in ("completed", "dead_lettered", "cancelled"):
            self._ended(job, kind, event)

    def _ended(self, job, kind, event):
        by_a_rule = kind == "cancelled" and event.reason  # a person gives no reason here
        if by_a_rule and not (self.gives_up[job] and job in self.held()):
            self.faults.append("a job was cancelled that was to wait")
        self.state[job] = self.end[job] = {"completed": "done", "dead_lettered": "dlq"}.get(kind, kind)

    def _take_edit(self, job, changes):
        if changes.if_unmet is not None:
            self.edits_of_if_unmet += 1
            self.gives_up[job] = changes.if_unmet == "cancel"
        if changes.after is not None:
            self._waits_for_others(job, changes.after)

    def _waits_for_others(self, job, edges):
        self.edits += 1
        self.after[job] = list(edges)
        if edges:
            self.waiting.add(job)
        else:
            self.waiting.discard(job)
        self._check_cycle(job)

    def _check_cycle(self, job):
        """A job must not wait for itself, through jobs and batches that wait."""
        met, layer = set(), [job]
        while layer:
            layer = [end for each in layer for end in self._ends_of(each) if end not in met]
            met.update(layer)
        if job in met:
            self.faults.append("a job waits for itself")

    def _ends_of(self, job):
        """The jobs that a waiting job waits for."""
        for edge in self.after[job] if job in self.waiting and self.state[job] == "pending" else ():
            if edge.kind == "job":
                yield edge.name
            else:
                yield from (each for each, batch in self.batch.items() if batch == edge.name)

    def _freed(self, job, event):
        if job not in self.waiting:
            self.faults.append("a job was freed twice")
        if not event.forced and not self._all_met(job):
            self.faults.append("a job was freed too early")
        self.waiting.discard(job)

    def _all_met(self, job) -> bool:
        return all(self._stands(edge) == "met" for edge in self.after[job])

    def held(self) -> set[str]:
        """The jobs that nothing but help can free."""
        return {
            job
            for job in self.waiting
            if self.state[job] == "pending" and any(self._stands(edge) == "never" for edge in self.after[job])
        }

    def _stands(self, edge) -> str:
        if edge.kind == "job":
            ends = [self.end[edge.name]]
        else:
            ends = [self.end[job] for job, batch in self.batch.items() if batch == edge.name]
        if None in ends:
            return "open"
        if edge.on == "end":
            return "met"
        if edge.on == "failed":
            return "met" if "dlq" in ends else "never"
        return "met" if set(ends) == {"done"} else "never"


class SimulatedGraph:
    """One seed. `run` lets things happen and returns the audit; `died` counts the kills."""

    def __init__(self, seed: int, url: str = ":memory:") -> None:
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.store = open_store(url, self.clock)
        self.oracle = Oracle()
        self.mortality = self.rng.choice([0, 0.02, 0.1])
        self.died, self._number = 0, 0
        self._queue = Queue(Mortal(self.store, self._visit), "user@node:1")

    def _visit(self) -> None:
        if self.rng.random() < self.mortality:
            self.died += 1
            raise Killed

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def run(self, steps: int = STEPS) -> Audit:
        """Let so many things happen, about one a day."""
        happenings = [self._add, self._add, self._work, self._work, self._work, self._cancel, self._retry, self._retry]
        happenings += [self._purge, self._unblock, self._work, self._add_late, self._edit, self._edit]
        happenings.append(self._edit_if_unmet)
        for _ in range(steps):
            self.clock.elapsed += self.rng.randrange(2 * DAY)
            with suppress(Killed, RefusedError, NoSuchJobError, UsageError):
                self.rng.choice(happenings)()
            self.oracle.read(self.store)
            self._compare()
        if self.store.upkeep.compare().total:
            self.oracle.faults.append("the tables differ from the log")
        return audit(self.store.log.records())

    def _compare(self) -> None:
        held = set(self.store.tables.ids(JobFilter(held=True, limit=0)))
        expected = self.oracle.held()
        if held != expected:
            self.oracle.faults.append("the held jobs are not those of the oracle")
        if any(self.oracle.gives_up[job] for job in expected):
            self.oracle.faults.append("a job is held that was to be cancelled")
        for job in self.oracle.waiting:
            row = self.store.tables.job(job)
            if row is not None and row["state"] == State.PENDING and row["due_at"] is not None:
                self.oracle.faults.append("a job that waits can be claimed")

    # ── what happens ────────────────────────────────────────────────────────────────────────────────

    def _ids(self, *states: str) -> list[str]:
        return [job for job, state in self.oracle.state.items() if not states or state in states]

    def _some(self, *states: str) -> str:
        found = self._ids(*states)
        if not found:
            raise RefusedError("there is none")
        return self.rng.choice(found[-12:])

    def _add(self) -> None:
        """Add a few jobs: each may wait for older jobs and batches, and for those before it."""
        rng, jobs, known = self.rng, [], self._ids()[-10:]
        batches = sorted({batch for batch in self.oracle.batch.values() if batch})[-3:]
        for _ in range(rng.randint(1, 4)):
            self._number += 1
            edges = {(rng.choice(known), "job") for _ in range(rng.randrange(4)) if known}
            edges |= {(rng.choice(batches), "batch") for _ in range(rng.randrange(2)) if batches}
            after = tuple(After(name, rng.choice(["ok", "ok", "end", "failed"]), kind) for name, kind in sorted(edges))
            job_id, batch = f"j{self._number:05}", rng.choice([None, None, f"b{self._number // 12:04}"])
            options = {"if_unmet": rng.choice(["hold", "hold", "cancel"])} if after else {}
            delay = rng.choice([0, 0, HOUR, 3 * DAY])
            jobs.append(NewJob(spec(after=after, batch=batch, delay=delay, max_retries=1, **options), job_id))
            known.append(job_id)
        self._queue.enqueue(resolved(self._queue, jobs))

    def _edit(self) -> None:
        """Change what a pending job waits for, or make it wait no longer, or make it due at another time."""
        rng, job_id = self.rng, self._some("pending")
        if_unmet = rng.choice([None, None, "hold", "cancel"])
        batches = sorted({f"batch:{batch}" for batch in self.oracle.batch.values() if batch})[-3:]
        others = [*self._ids()[-12:], *batches]
        names = rng.sample(others, rng.choice([0, 1, 1, 2, 3]) if len(others) > 2 else 0)
        after = tuple(f"{name}:{rng.choice(['ok', 'end', 'failed'])}" for name in names)
        wanted = JobInput(after=after, if_unmet=if_unmet if after else None)
        if rng.random() < 0.2:
            wanted = JobInput(delay=rng.choice([0, DAY]))
        self._change(job_id, wanted)

    def _edit_if_unmet(self) -> None:
        """Change what happens to a waiting job when its dependencies cannot be met."""
        waiting = [job for job in self._ids("pending") if job in self.oracle.waiting]
        if waiting:
            self._change(self.rng.choice(waiting[-12:]), JobInput(if_unmet=self.rng.choice(["hold", "cancel"])))

    def _change(self, job_id: str, wanted: JobInput) -> None:
        Editor(self._queue, Config({}, {}, {}, dict)).edit([job_id], Edit(wanted), "another plan")

    def _add_late(self) -> None:
        """Add a job to an older batch, which is live again then."""
        batches = sorted({batch for batch in self.oracle.batch.values() if batch})[-4:]
        if batches:
            self._number += 1
            self._queue.enqueue([NewJob(spec(batch=self.rng.choice(batches)), f"j{self._number:05}")])

    def _work(self) -> None:
        """Claim some jobs, and end what runs."""
        self._queue.claim(claimant(), (), self.rng.randint(1, 5), lambda job: True)
        reports = []
        for job_id in self._ids("processing"):
            job = self.store.log.load(job_id)
            if self.rng.random() < 0.7:
                cause = Exited(1) if self.rng.random() < 0.4 else None
                reports.append(c.Report(job_id, job.run, c.Exit(cause)))
        self._queue.execute(reports)

    def _cancel(self) -> None:
        self._queue.cancel([self._some("pending")])

    def _retry(self) -> None:
        self._queue.requeue([self._some("dlq", "cancelled", "done", "purged")])

    def _purge(self) -> None:
        self._queue.purge([self._some("dlq", "cancelled", "done")])

    def _unblock(self) -> None:
        if self.rng.random() < 0.3:
            self._queue.unblock([self._some("pending")])
