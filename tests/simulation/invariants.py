"""The oracle: it reads the log as it grows and compares it with the invariants and with the simulated world.

`audit`, which shares no rule with the code that wrote the log, checks the log by itself. Each step costs only as much
as is new: the new events, the rows that they changed, and the jobs in processing.
"""

from collections import defaultdict
from typing import Any

from msgspec.structs import asdict, replace

from queuectl.checks.audit import Audit
from queuectl.domain import events as e
from queuectl.domain.job import evolve
from queuectl.domain.names import PAUSE_ALL
from queuectl.runtime import Reach
from queuectl.worker.slots import OUT_OF_REACH
from tests.simulation.attendance import Attendance, Known
from tests.simulation.driver import Driver
from tests.simulation.tables import InvariantError, compare_all, compare_counts, compare_job, must
from tests.simulation.world import SECOND, Process, WorkerProcess, output_of

__all__ = ["InvariantError", "Oracle"]

SPINS = 200
LOOKS_AHEAD = 10_000
"""How long a worker goes by its last look at who is next in line."""

STATES = {
    "enqueued": "pending",
    "claimed": "processing",
    "completed": "done",
    "retry_scheduled": "pending",
    "dead_lettered": "dlq",
    "released": "pending",
    "cancelled": "cancelled",
    "requeued": "pending",
    "purged": "purged",
}
"""Where each move leads to; whether it was legal is for the audit to say."""


class Oracle:
    """Watches one simulation. `check` after every step, `finish` at its end."""

    def __init__(self, driver: Driver) -> None:
        self.world, self.clock, self.store, self.shared = driver.world, driver.clock, driver.store, driver.shared
        self.audit = Audit()
        self.jobs: dict[str, Known] = {}
        self.paused: set[str] = set()
        self.idle_ticks: dict[int, list[int]] = defaultdict(list)
        self.attendance = Attendance(self.world, self.store, self.jobs, self.paused)
        self.world.spawned = self.spawned

    # ── when it looks ───────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Check everything that is new since the last call."""
        self.read_on()
        self.attendance.check()

    def spawned(self, process: Process) -> None:
        """A command is about to start: no process of its job may live on this host; its run must be the current one.

        A process may live on another host, if its worker was rightly taken for lost; `_lost` checks that.
        """
        self.read_on()
        others = self.world.living(process.job_id, host=process.place.host)
        must(not others, f"{process.job_id}: run {process.run} starts while run {[p.run for p in others]} lives")
        known = self.jobs[process.job_id]
        must(
            known.state == "processing" and known.run == process.run,
            f"{process.job_id}: run {process.run} starts, but the job is {known.state} with run {known.run}",
        )

    def ticked(self, pid: int) -> None:
        """Check that a worker without work does not ask for work in a loop."""
        ticks = self.idle_ticks[pid]
        ticks.append(self.clock.monotonic())
        if len(ticks) > SPINS:
            lasted = (ticks[-1] - ticks.pop(0)) / SECOND
            must(lasted > 1, f"worker {pid} was called {SPINS} times in {lasted} s, and nothing came of it")

    def read_on(self) -> None:
        """Read and check the new events of the log."""
        if self.store.log.head().position == self.position:
            return
        self.idle_ticks.clear()
        touched = {}
        for record in self.store.log.records(after=self.position):
            self._judge(record)
            if record.stream_id.startswith("$"):
                self._note(record)
            else:
                self._job(record)
                touched[record.stream_id] = None
        for job_id in touched:
            known = self.jobs[job_id]
            compare_job(self.store, job_id, known.job, (known.state, known.attempts, known.run))
        compare_counts(self.store, ((known.spec.queue, known.state) for known in self.jobs.values()))

    @property
    def position(self) -> int:
        """The position of the last event that was read."""
        return self.audit.last.position if self.audit.last else 0

    def _judge(self, record: e.RecordedEvent) -> None:
        self.audit.take(record)
        must(self.audit.clean, "; ".join(f"{each.stream_id}: {each.rule}: {each.what}" for each in self.audit.findings))

    def _note(self, record: e.RecordedEvent) -> None:
        name = record.stream_id.partition(":")[2]
        if record.type == "queue_paused":
            self.paused.add(name)
        if record.type == "queue_resumed":
            self.paused.discard(name)
            for known in self.jobs.values():
                known.passed_over.clear()

    # ── one job's events ────────────────────────────────────────────────────────────────────────────

    def _job(self, record: e.RecordedEvent) -> None:
        event, job_id = record.event, record.stream_id
        if isinstance(event, e.Enqueued):
            self.jobs[job_id] = Known(event, record.position)
        known = self.jobs[job_id]
        if look := getattr(self, f"_{record.type}", None):
            look(known, event, record)
        if record.type in STATES:
            known.state = STATES[record.type]
            known.passed_over.clear()
        known.job = evolve(known.job, record)

    def _enqueued(self, known: Known, event: e.Enqueued, record: e.RecordedEvent) -> None:
        known.waits_from = record.clock if event.at is None else None
        known.due_at = record.clock + event.delay if event.at is None else event.at

    def _requeued(self, known: Known, event: e.Requeued, record: e.RecordedEvent) -> None:
        known.attempts, known.due_at, known.waits_from = 0, record.clock + event.delay, record.clock

    def _amended(self, known: Known, event: e.Amended, record: e.RecordedEvent) -> None:
        """Take over the new promise, without the code under test, and check that the job is not running."""
        must(known.state != "processing", f"{record.stream_id} is changed while it runs")
        set_again = {name: value for name, value in asdict(event.changes).items() if value is not None}
        delay, at = set_again.pop("delay", None), set_again.pop("at", None)
        if set_again.get("timeout") == 0:
            set_again["timeout"] = None
        known.spec = replace(known.spec, **set_again)
        if known.state == "pending":
            known.passed_over.clear()
            if delay is not None:
                known.due_at = record.clock + delay if at is None else at
                known.waits_from = record.clock if at is None else None

    def _claimed(self, known: Known, event: e.Claimed, record: e.RecordedEvent) -> None:
        job_id, now = record.stream_id, record.clock
        must(event.worker == record.actor, f"{job_id} is claimed by {record.actor} for {event.worker}")
        self._in_turn(job_id, known, self.world.workers[event.pid], now)
        known.run, known.claim, known.claimed_at = event.run, event, self.clock.monotonic()

    def _in_turn(self, job_id: str, known: Known, worker: WorkerProcess, now: int) -> None:
        """Check the claim order: a job that should come first may be skipped for one scan at most."""
        monotonic = self.clock.monotonic()
        looked = worker.ticked_at - LOOKS_AHEAD
        queues = worker.options.queues or {each.spec.queue for each in self.jobs.values()}
        for other, each in self.jobs.items():
            queue = each.spec.queue
            waits = each.state == "pending" and each.due_at <= now and queue in queues
            if not waits or self.paused & {PAUSE_ALL, queue} or _rank(each, now) >= _rank(known, now):
                continue
            if self.world.refused.get(other, 0) < looked:
                since = each.passed_over.setdefault(worker.row.pid, monotonic)
                must(since >= looked, f"{job_id} is claimed before {other}")

    def _completed(self, known: Known, event: e.Completed, record: e.RecordedEvent) -> None:
        run = self._left(known, event, record)
        known.attempts += 1
        must(run is not None and run.cause is None, f"{record.stream_id} is completed, but its command failed")

    def _retry_scheduled(self, known: Known, event: e.RetryScheduled, record: e.RecordedEvent) -> None:
        self._failed(known, event, record)
        known.due_at, known.waits_from = record.clock + event.wait, record.clock

    def _dead_lettered(self, known: Known, event: e.DeadLettered, record: e.RecordedEvent) -> None:
        self._failed(known, event, record)

    def _released(self, known: Known, event: e.Released, record: e.RecordedEvent) -> None:
        assert known.claim is not None
        worker = self.world.workers[known.claim.pid]
        unaware = (record.stream_id, event.run) not in self.world.runs and record.actor == known.claim.worker
        never_started = (record.stream_id, event.run) not in self.world.marked and not worker.alive
        out_of_reach = self.store.location.reach is Reach.SEVERAL_HOSTS and event.reason == OUT_OF_REACH
        rebooted = worker.row.boot_id not in {host.boot_id for host in self.world.hosts}
        lost_with_machine = 0 < event.machine_losses <= 3 and rebooted
        allowed = worker.stops >= 2 or unaware or never_started or out_of_reach or lost_with_machine
        must(allowed, f"{record.stream_id} is released by {worker.row.name}, which was not asked to")
        self._left(known, event, record)
        if event.due_at is None:
            known.due_at = known.waits_from = record.clock
        else:
            ran = (record.stream_id, event.run) in self.world.runs
            must(
                not ran and event.due_at == known.due_at,
                f"{record.stream_id} is given back, but it ran or lost its place",
            )

    def _cancelled(self, known: Known, event: e.Cancelled, record: e.RecordedEvent) -> None:
        if known.state == "processing":
            self._left(known, event, record)

    # ── results, held against what happened ─────────────────────────────────────────────────────────

    def _left(self, known: Known, event: Any, record: e.RecordedEvent) -> Process | None:
        """Check that the run's command has ended; return its process, if there was one."""
        job_id = record.stream_id
        run = self.world.runs.get((job_id, event.run))
        over = run is None or not run.lives(self.clock.monotonic()) or run.place.host != self._host(record.actor)
        must(over, f"{job_id}: {record.type}, but its command runs on")
        if event.stdout:
            must(event.stdout == output_of(job_id, event.run), f"{job_id}: the result has another run's output")
        must(not event.left_behind or (run is not None and run.background > 0), f"{job_id}: nothing was left behind")
        known.claim = None
        return run

    def _failed(self, known: Known, event: e.RetryScheduled | e.DeadLettered, record: e.RecordedEvent) -> None:
        claim, job_id, cause = known.claim, record.stream_id, event.cause
        run = self._left(known, event, record)
        known.attempts += 1
        if isinstance(cause, e.LostWorker):
            assert claim is not None
            self._lost(known, claim, record)
        elif isinstance(cause, e.NotStarted):
            must((job_id, event.run) in self.world.not_started, f"{job_id} is said not to have started")
        elif isinstance(cause, e.TimedOut):
            lasted = (run.signalled_at or run.ends) - run.started if run else 0
            must(lasted >= (known.spec.timeout or 0), f"{job_id} timed out after {lasted} us")
        else:
            must(run is not None and run.cause == cause, f"{job_id}: {cause}, but it was {run and run.cause}")

    def _lost(self, known: Known, claim: e.Claimed, record: e.RecordedEvent) -> None:
        """Check that the worker was dead or silent for its lease, and that no process of the run is left."""
        job_id, worker = record.stream_id, self.world.workers[claim.pid]
        beat_at = self.beat_at(worker)
        if claim.worker in self.shared.forgotten:
            beat_at = min(beat_at, known.claimed_at)
        silent = self.clock.monotonic() - beat_at > claim.lease
        # Whoever was stopped after it had looked, and before it acted, cannot know of a later beat.
        [began] = [each.ticked_at for each in self.world.workers.values() if each.row.name == record.actor]
        must(not worker.alive or silent or began <= beat_at, f"{job_id}: {claim.worker} is said to be lost")
        left = self.world.living(job_id, host=self._host(record.actor))
        must(not left, f"{job_id} is freed while its processes live")

    def beat_at(self, worker: WorkerProcess) -> int:
        """The time of a worker's last heartbeat, in the world's time."""
        return self.shared.beats[worker.row.name] + worker.began_at

    def _host(self, actor: str) -> str:
        return next(each.row.host for each in self.world.workers.values() if each.row.name == actor)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────

    def live(self) -> list[str]:
        """Jobs that have not ended."""
        return [job_id for job_id, known in self.jobs.items() if known.state in ("pending", "processing")]

    def finish(self) -> list[e.RecordedEvent]:
        """Decode the whole log, which checks every digest, compare a new fold with all tables, and return the log."""
        self.read_on()
        records = list(self.store.log.records())
        must(len(records) == self.position, "the log has gaps")
        must(
            not records or records[-1].digest == self.store.log.head().digest, "the head is not the last event's digest"
        )
        compare_all(self.store, records)
        return records


def _rank(known: Known, now: int) -> tuple[int, int, int]:
    return (-known.spec.priority, 0 if known.is_misdated(now) else known.due_at, known.position)
