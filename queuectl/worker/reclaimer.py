"""Frees the jobs of lost workers: at once when the worker is seen dead, when its lease is over if it is silent.

A job is freed only after its processes are dead and its lock could be taken (`Commands.clear`).
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from msgspec.structs import replace

from queuectl.application.queue import Queue
from queuectl.domain import events as e
from queuectl.domain.commands import Command, Exit, MachineLost, Release, Report
from queuectl.domain.job import Job, fold
from queuectl.domain.machine import State
from queuectl.errors import RefusedError, command_line
from queuectl.process.protocol import Commands, same_process
from queuectl.runtime import Clock
from queuectl.store.errors import DamagedEventError
from queuectl.store.rows import WorkerRow
from queuectl.units import SECOND, format_duration
from queuectl.worker.claims import claimant
from queuectl.worker.presence import EVERY, Presence

__all__ = ["Reclaimer"]

FREE_FOR = SECOND // 5
"""Microseconds that one round may spend on freeing jobs: finding a job's processes takes time."""

log = logging.getLogger("queuectl.worker")


@dataclass(slots=True)
class Reclaimer:
    """Runs once a second. `lease` (microseconds) is used for workers whose own lease is not known.

    `machine_losses`: how many runs in a row a job may lose to machine restarts before they cost attempts.
    """

    queue: Queue
    commands: Commands
    clock: Clock
    me: WorkerRow
    lease: int
    machine_losses: int = 3
    next_at: int = 0
    _presence: Presence = field(init=False)
    _jobs: dict[tuple[str, int], Job] = field(default_factory=dict)
    _on_copies: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._presence = Presence(self.queue.store, self.commands, self.clock, self.me)

    def tick(self, now: int, mine: Collection[str], blocked: dict[str, Job]) -> bool:
        """Free the jobs of lost workers, except `mine`, the jobs that this worker runs. True when one was freed.

        `blocked`: jobs whose lock an earlier run still holds. Kill what a dead worker left of it, then clear the list.
        """
        if now < self.next_at:
            return False
        self.next_at = now + EVERY
        self._clear_blocked(blocked)
        held = self._held(mine)
        # Read after the jobs: a worker that came back in time has written its heartbeat by now.
        workers = {row.name: row for row in self.queue.store.workers.rows()}
        self._presence.forget_all_but(
            {(name, None) for name in workers} | {(job.claim.worker, job.locked_at) for job in held if job.claim}
        )
        lost = [job for job in held if self._is_lost(job, workers.get(job.claim.worker) if job.claim else None, now)]
        freed = [job for job in lost if self._has_time(now) and self._free(job)]
        self._warn_of_copies([job for job in held if job not in lost])
        busy = {job.claim.worker for job in held if job.claim and job not in freed}
        for row in workers.values():
            if row.name != self.me.name and row.name not in busy and self._is_gone(row, now):
                self.queue.lose_worker(row)
        return bool(freed)

    def _has_time(self, since: int) -> bool:
        """Whether there is time to free one more job in this round: our own running jobs must not wait for long."""
        if self.clock.monotonic() - since < FREE_FOR:
            return True
        self.next_at = since
        return False

    def _is_gone(self, row: WorkerRow, now: int) -> bool:
        return self._presence.is_dead(row) or self._presence.is_silent(row, row, self.lease, now)

    # ── which jobs are lost ─────────────────────────────────────────────────────────────────────────

    def _held(self, mine: Collection[str]) -> list[Job]:
        """Processing jobs that other workers claimed. A job that was seen before is not read again."""
        keys = [key for key in self.queue.store.tables.processing() if key[0] not in mine]
        self._jobs = {key: job for key in keys if (job := self._jobs.get(key) or self._load(key[0]))}
        self._on_copies &= set(keys)
        return [job for job in self._jobs.values() if job.claim is not None]

    def _load(self, job_id: str) -> Job | None:
        try:
            return self.queue.store.log.load(job_id)
        except DamagedEventError:
            return self._damaged(job_id)

    def _damaged(self, job_id: str) -> Job | None:
        """A processing job whose events are damaged, with the parts that freeing it needs: its run and its claim."""
        row = self.queue.store.tables.job(job_id)
        if row is None or row["locked_by"] is None:
            return None
        since = row["locked_at"] * SECOND
        # An empty specification will do: the stored one may be damaged, and the job does not run again.
        spec = e.Enqueued(
            command="", queue="", priority=0, max_retries=0, backoff_base=0, backoff_cap=0, jitter=False, cwd="/"
        )
        job = Job(job_id, spec, row["position"], since, since, row["version"], State.PROCESSING, run=row["run"])
        return replace(job, claim=self._claim_of(job, row["locked_by"]), locked_at=since)

    def _claim_of(self, job: Job, name: str) -> e.Claimed:
        """The claim of a damaged job's run. If that event is damaged too: one made from its worker's row, or name."""
        for found in self.queue.store.log.examined(stream_id=job.id):
            if isinstance(found, e.RecordedEvent) and isinstance(found.event, e.Claimed) and found.event.run == job.run:
                return found.event
        for row in self.queue.store.workers.rows():
            if row.name == name:
                return claimant(row, self.lease).claimed(job.run)
        return e.Claimed(
            run=job.run, worker=name, host="", boot_id="", pid=0, pid_namespace=0, pid_started_at=0, lease=self.lease
        )

    def _is_lost(self, job: Job, row: WorkerRow | None, now: int) -> bool:
        claim = job.claim
        if claim is None:
            return False
        if self._is_ours(job) or self._presence.is_dead(claim):
            return True
        its_row = row if row and same_process(claim, row) else None
        return self._presence.is_silent(claim, its_row, claim.lease, now, job.locked_at)

    def _is_ours(self, job: Job) -> bool:
        """Whether this process made the claim without knowing it: the commit was reported as failed but succeeded."""
        return job.claim is not None and same_process(job.claim, self.me)

    def _warn_of_copies(self, held: Collection[Job]) -> None:
        """Warn once of each job that a living worker runs in another copy of this queue."""
        for job in held:
            if job.claim and (job.id, job.run) not in self._on_copies and self._presence.is_on_a_copy(job.claim):
                self._on_copies.add((job.id, job.run))
                log.warning(
                    "job %s run %d: worker %s (pid %d) runs it in another copy of this queue; it will run here too "
                    "when its lease of %s is over (to prevent that: %s)",
                    *(job.id, job.run, job.claim.worker, job.claim.pid, format_duration(job.claim.lease)),
                    command_line("cancel", job.id),
                )

    # ── freeing them ────────────────────────────────────────────────────────────────────────────────

    def _clear_blocked(self, blocked: dict[str, Job]) -> None:
        for job in blocked.values():
            claims = [r.event for r in self.queue.store.log.records(stream_id=job.id) if isinstance(r.event, e.Claimed)]
            if claims and self._presence.is_dead(claims[-1]):
                self._clear_run(job)
        blocked.clear()

    def _clear_run(self, job: Job) -> bool:
        """Kill the remaining processes of a job's run. Returns True once there are none.

        Holds the log's lock, so that nobody claims the job meanwhile: a later run, perhaps another worker's, would use
        the same job lock.
        """
        with self.queue.store.writer.transaction(durable=False):
            return self._is_current(job) and self.commands.clear(job)

    def _is_current(self, job: Job) -> bool:
        now = self._load(job.id)
        return now is not None and (now.run, now.state) == (job.run, job.state)

    def _free(self, job: Job) -> bool:
        if not self._clear_run(job):
            self.next_at = min(self.next_at, self.clock.monotonic() + EVERY // 20)
            return False
        outcome = self._outcome(job)
        try:
            with self.queue.store.writer.transaction():
                if self._is_current(job):
                    self.queue.execute([outcome])
        except RefusedError as error:
            log.error("job %s: %s", job.id, error)
            return False
        except DamagedEventError as error:
            log.error("job %s: %s; it is quarantined", job.id, error)
            self.queue.store.upkeep.quarantine(job.id)
        return True

    def _outcome(self, job: Job) -> Command:
        """The command that records a lost run. A run that never started, or runs in a copy, costs no attempt."""
        if self._is_ours(job):
            log.warning("job %s run %d: the claim was reported as failed but had succeeded: released", job.id, job.run)
            return self._given_back(job, "its claim was reported as failed, so it was never started")
        worker = job.claim.worker if job.claim else ""
        if job.claim and self._presence.is_on_a_copy(job.claim):
            reason = f"worker {worker} runs it in another copy of this queue"
            log.warning("job %s run %d: %s: released", job.id, job.run, reason)
            return Release(job.id, job.run, reason)
        if self._never_started(job):
            reason = f"worker {worker} was lost before it started the command"
            log.warning("job %s run %d: %s: released", job.id, job.run, reason)
            return self._given_back(job, reason)
        stdout, stderr = self.commands.tails(job)
        if job.claim and job.claim.host == self.me.host and job.claim.boot_id != self.me.boot_id:
            log.warning("job %s run %d: lost with its machine, which has been restarted", job.id, job.run)
            end = Exit(stdout=stdout, stderr=stderr)
            return MachineLost(job.id, job.run, worker, self.machine_losses, end)
        log.warning("job %s run %d: worker %s was lost, the job is freed", job.id, job.run, worker)
        return Report(job.id, job.run, Exit(e.LostWorker(worker), stdout=stdout, stderr=stderr))

    def _never_started(self, job: Job) -> bool:
        """Whether its worker died between the claim and the start of the command."""
        claim = job.claim
        if claim is None or claim.boot_id != self.me.boot_id or not self._presence.is_dead(claim):
            return False
        return self._presence.uses_our_lock_file(claim) and not self.commands.was_started(job)

    def _given_back(self, job: Job, reason: str) -> Release:
        """Release a job at its former place in line: when it was due before this claim, if that is known."""
        try:
            events = list(self.queue.store.log.records(stream_id=job.id))
        except DamagedEventError:
            events = []
        claimed = [number for number, record in enumerate(events) if isinstance(record.event, e.Claimed)]
        before = fold(events[: claimed[-1]]) if claimed else None
        due_at = before.due_at if before else None
        is_over = due_at is not None and due_at <= self.queue.store.log.wall()
        return Release(job.id, job.run, reason, due_at=due_at if is_over else None)
