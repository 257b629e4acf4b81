"""Frees the jobs of lost workers: a worker seen dead at once, a silent one when its lease is over.

A job is freed only after its processes are dead and its lock could be taken (`Commands.clear`).
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from msgspec.structs import replace

from queuectl.application.queue import Queue
from queuectl.domain import events as e
from queuectl.domain.commands import Exit, Release, Report
from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.errors import RefusedError
from queuectl.process.protocol import Commands, same_process
from queuectl.runtime import Clock
from queuectl.store.protocol import DamagedEventError, WorkerRow
from queuectl.units import SECOND
from queuectl.worker.claims import claimant

__all__ = ["Reclaimer"]

EVERY = SECOND
FREE_FOR = SECOND // 5

Sender = tuple[str, int | None]
"""Whose sign of life it is: a worker's, or, where its row is gone or another's, that of one claim of that moment."""

log = logging.getLogger("queuectl.worker")


@dataclass(slots=True)
class Reclaimer:
    """Looks round once a second. `lease` is microseconds, for workers of which no claim tells theirs."""

    queue: Queue
    commands: Commands
    clock: Clock
    me: WorkerRow
    lease: int
    next_at: int = 0
    _silent: dict[Sender, int] = field(default_factory=dict)
    _last_seen: dict[Sender, tuple[int, int]] = field(default_factory=dict)
    _jobs: dict[tuple[str, int], Job] = field(default_factory=dict)

    def tick(self, now: int, mine: Collection[str], blocked: dict[str, Job]) -> None:
        """Free what lost workers hold; `mine` are the jobs that this worker answers for.

        `blocked` jobs could not be claimed for what an earlier run left: what dead workers left is killed; all dropped.
        """
        if now < self.next_at:
            return
        self.next_at = now + EVERY
        self._clear_blocked(blocked)
        held = self._held(mine)
        workers = {
            row.name: row for row in self.queue.store.workers.rows()
        }  # read last: who came back, came back in time
        self._remember(
            {(name, None) for name in workers} | {(job.claim.worker, job.locked_at) for job in held if job.claim}
        )
        lost = [job for job in held if self._is_lost(job, workers.get(job.claim.worker) if job.claim else None, now)]
        freed = [job for job in lost if self._in_time(now) and self._free(job)]
        busy = {job.claim.worker for job in held if job.claim and job not in freed}
        for row in workers.values():
            if row.name != self.me.name and row.name not in busy and self._is_silent(row, row, self.lease, now):
                self.queue.lose_worker(row)

    def _in_time(self, since: int) -> bool:
        """Whether there is time left for one more job: looking through all processes for many would hold up our own."""
        if self.clock.monotonic() - since < FREE_FOR:
            return True
        self.next_at = since
        return False

    def _clear_blocked(self, blocked: dict[str, Job]) -> None:
        for job in blocked.values():
            claims = [r.event for r in self.queue.store.log.records(stream_id=job.id) if isinstance(r.event, e.Claimed)]
            if claims and self._is_seen_dead(claims[-1]):
                self._clear_run(job)
        blocked.clear()

    def _clear_run(self, job: Job) -> bool:
        """Kill what is left of the run that the job was seen in; True once nothing is.

        Under the log's lock, so that nobody claims meanwhile: a later run has the same lock and may be someone else's.
        """
        with self.queue.store.writer.transaction(durable=False):
            now = self._load(job.id)
            return now is not None and (now.run, now.state) == (job.run, job.state) and self.commands.clear(job)

    def _held(self, mine: Collection[str]) -> list[Job]:
        """Jobs in processing that others hold; those seen before are not read again."""
        keys = [key for key in self.queue.store.tables.processing() if key[0] not in mine]
        self._jobs = {key: job for key in keys if (job := self._jobs.get(key) or self._load(key[0]))}
        return [job for job in self._jobs.values() if job.claim is not None]

    def _load(self, job_id: str) -> Job | None:
        try:
            return self.queue.store.log.load(job_id)
        except DamagedEventError:
            return self._damaged(job_id)

    def _damaged(self, job_id: str) -> Job | None:
        """What a damaged job that is held still has to be known by: which run it is, and whose."""
        row = self.queue.store.tables.job(job_id)
        if row is None or row["locked_by"] is None:
            return None
        since = row["locked_at"] * SECOND
        # What it was promised may be what is damaged, and it runs no more.
        spec = e.Enqueued(
            command="", queue="", priority=0, max_retries=0, backoff_base=0, backoff_cap=0, jitter=False, cwd="/"
        )
        job = Job(job_id, spec, row["position"], since, since, row["version"], State.PROCESSING, run=row["run"])
        return replace(job, claim=self._claimant(job, row["locked_by"]), locked_at=since)

    def _claimant(self, job: Job, name: str) -> e.Claimed:
        """Whose run it is, by its claim; should that be what is damaged, by the name; else nobody who can be seen."""
        for found in self.queue.store.log.examined(stream_id=job.id):
            if isinstance(found, e.RecordedEvent) and isinstance(found.event, e.Claimed) and found.event.run == job.run:
                return found.event
        for row in self.queue.store.workers.rows():
            if row.name == name:
                return claimant(row, self.lease).claimed(job.run)
        return e.Claimed(job.run, name, host="", boot_id="", pid=0, pid_namespace=0, pid_started_at=0, lease=self.lease)

    def _is_lost(self, job: Job, row: WorkerRow | None, now: int) -> bool:
        claim = job.claim
        if claim is None:
            return False
        if same_process(claim, self.me):
            return True  # a claim of this very process that it does not know of: its commit was reported as failed
        return self._is_silent(
            claim, row if row and same_process(claim, row) else None, claim.lease, now, job.locked_at
        )

    def _is_silent(
        self, who: e.Claimed | WorkerRow, row: WorkerRow | None, lease: int, now: int, since: int | None = None
    ) -> bool:
        """Seen dead, or without a beat for longer than its lease when looked at twice.

        Twice, because a store that was locked for long kept the worker from beating just as it kept us from looking.
        """
        if self._is_seen_dead(who):
            return True
        name = who.name if isinstance(who, WorkerRow) else who.worker
        sender = (name, None if row else since)
        if row and since is not None:
            self._last_seen.pop((name, since), None)  # it lives: its row had only gone
        if row and row.boot_id == self.me.boot_id:
            silent = now - row.beat_at
        else:
            silent = self._nothing_new_for(sender, row.beat_at if row else since or 0, now)
        if silent <= lease:
            self._silent.pop(sender, None)
            return False
        return self._silent.setdefault(sender, self.clock.monotonic()) <= now - EVERY

    def _is_seen_dead(self, who: e.Claimed | WorkerRow) -> bool:
        return self.commands.alive(who, self.queue.store.location.spans_hosts) is False

    def _remember(self, senders: Collection[Sender]) -> None:
        """These, and no others."""
        self._silent = {sender: since for sender, since in self._silent.items() if sender in senders}
        self._last_seen = {sender: seen for sender, seen in self._last_seen.items() if sender in senders}

    def _nothing_new_for(self, sender: Sender, sign: int, now: int) -> int:
        """For how long a sign of life has been the same. Of a worker with another clock no more can be known.

        The wall clock would do only until somebody sets it. And `now` may be long ago: we may have been stopped since.
        """
        if self._last_seen.get(sender, (None, 0))[0] != sign:
            self._last_seen[sender] = (sign, self.clock.monotonic())
        return now - self._last_seen[sender][1]

    def _free(self, job: Job) -> bool:
        if not self._clear_run(job):
            self.next_at = min(self.next_at, self.clock.monotonic() + EVERY // 20)
            return False
        try:
            self.queue.execute(
                [self._unknown(job) if job.claim and same_process(job.claim, self.me) else self._lost(job)]
            )
        except RefusedError as error:
            log.error("job %s: %s", job.id, error)
            return False
        except DamagedEventError as error:
            log.error("job %s: %s; it is set aside", job.id, error)
            self.queue.store.upkeep.hold(job.id)
        return True

    def _lost(self, job: Job) -> Report:
        stdout, stderr = self.commands.tails(job)
        worker = job.claim.worker if job.claim else ""
        log.warning("job %s run %d: worker %s was lost, the job is freed", job.id, job.run, worker)
        return Report(job.id, job.run, Exit(e.LostWorker(worker), stdout=stdout, stderr=stderr))

    def _unknown(self, job: Job) -> Release:
        """Nobody died, and nothing was started: the job is given back, at the cost of no attempt."""
        log.warning("job %s run %d: its claim was ours, though it was reported as failed: given back", job.id, job.run)
        return Release(job.id, job.run, "its claim was reported as failed, so it was never started")
