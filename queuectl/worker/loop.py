"""The main loop of one worker. Each `tick` collects ended runs, stops what has to stop, writes the heartbeat, frees
the jobs of lost workers, records results, claims and starts jobs, and returns when it wants to be called again.

It does no I/O of its own: queue, commands, clock and random numbers are passed in, so that tests drive it in virtual
time. Moments are microseconds on the monotonic clock.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from queuectl.application.queue import Queue
from queuectl.domain import events as e
from queuectl.domain.commands import Release, Report
from queuectl.domain.job import Job, explain_cause
from queuectl.errors import NotArchivedError, QueuectlError, RefusedError, StoreBusyError, StoreError
from queuectl.process.protocol import Commands, ShortageError
from queuectl.runtime import Clock
from queuectl.store.protocol import WorkerRow
from queuectl.units import SECOND
from queuectl.worker.claims import Claims, claimant
from queuectl.worker.heartbeat import Heartbeat, LeaseFence
from queuectl.worker.log import how_it_ended, log, summary_word
from queuectl.worker.reclaimer import Reclaimer
from queuectl.worker.results import Recorded, Rejected, Results
from queuectl.worker.shortage import Shortage
from queuectl.worker.slots import FREED, OUT_OF_REACH, Slot, outcome
from queuectl.worker.store_outage import StoreOutage

__all__ = ["Worker", "WorkerOptions"]

CHECK_LEFTOVERS_EVERY = SECOND // 10
RETRY_BUSY_STORE_AFTER = 20_000
RETRY_FAILED_STORE_AFTER = 200_000


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker was asked to do. `grace` and `lease` are microseconds; no queues means all of them.

    `inside` are the jobs that this worker was started in, which end after it: `drain` does not wait for them.
    """

    slots: int = 1
    queues: frozenset[str] = frozenset()
    grace: int = 10 * SECOND
    lease: int = 30 * SECOND
    drain: bool = False
    once: bool = False
    inside: frozenset[str] = frozenset()
    machine_losses: int = 3


@dataclass(slots=True)
class Worker:
    """See the module's docstring. `row` says who this worker is."""

    queue: Queue
    commands: Commands
    clock: Clock
    random: Callable[[], float]
    row: WorkerRow
    options: WorkerOptions
    slots: dict[str, Slot] = field(default_factory=dict)
    jobs_done: int = 0
    failure: QueuectlError | None = None
    tally: Counter[str] = field(default_factory=Counter)
    _stops: int = 0
    _claims_left: int | None = None
    _exhausted: bool = False
    _due_at: int | None = None
    _leftovers: int = 0
    _store_failed_at: int | None = None
    _outage: StoreOutage = field(default_factory=StoreOutage)
    _fence: LeaseFence = field(init=False)
    _heartbeat: Heartbeat = field(init=False)
    _reclaimer: Reclaimer = field(init=False)
    _results: Results = field(init=False)
    _claims: Claims = field(init=False)
    _shortage: Shortage = field(init=False)

    def __post_init__(self) -> None:
        queue, commands, clock, lease = self.queue, self.commands, self.clock, self.options.lease
        self._fence = LeaseFence(commands, lease)
        self._heartbeat = Heartbeat(queue.store, clock, self.row, self._fence)
        self._reclaimer = Reclaimer(queue, commands, clock, self.row, lease, self.options.machine_losses)
        self._results = Results(queue)
        self._claims = Claims(queue, commands, clock, claimant(self.row, lease, commands.uid), self.options.queues)
        self._shortage = Shortage(clock)
        self._claims_left = 1 if self.options.once else None

    def start(self) -> None:
        """Make this worker known."""
        row, slots = self.row, self.options.slots
        self._write_heartbeat(self.clock.monotonic())
        locks = self.commands.lock_file
        started = e.WorkerStarted(host=row.host, pid=row.pid, slots=slots, queues=row.queues, lock_file=locks)
        self.queue.note_worker(row.name, started)
        served = f"queues {', '.join(row.queues)}" if row.queues else "all queues"
        log.info("Worker %s started: %d slot%s, %s", row.name, slots, "" if slots == 1 else "s", served)

    def tick(self) -> float | None:
        """One round. Seconds until the next (a wake-up may come sooner), or None when the worker has ended.

        Raises StoreError when the store cannot be used; a busy store is waited for.
        """
        now = self.clock.monotonic()
        self._fence.enforce(self.slots, now)
        self._collect(now)
        self._enforce_deadlines(now)
        try:
            self._record_unless_claiming(now)
            self._follow_requests(now)
            if self._reclaimer.tick(now, {*self.slots, *self._results.waiting}, self._claims.blocked):
                self._due_at = None  # the freed job may be due now
            self._claim(now)
            is_over = self._is_over()
        except StoreBusyError as error:
            self._outage.failed(error, now)
            return RETRY_BUSY_STORE_AFTER / SECOND
        except StoreError as error:
            return self._go_on_without_store(error, now)
        self._outage.ended(now)
        return None if is_over else self._delay(self.clock.monotonic()) / SECOND

    def stop(self) -> None:
        """Claim no more and finish what runs; the second time, stop what runs and put it back."""
        self._stops += 1
        self._heartbeat.next_at = 0  # which shows others that it is stopping
        if self._stops == 1:
            log.info("%s", self._stopping())
        if self._stops == 2:
            self._collect(self.clock.monotonic())  # a command that has ended by itself keeps its result
            for slot in self.slots.values():
                self._end(slot, "stop")

    def lose_supervisor(self, pid: int) -> None:
        """Stop: nobody replaces this worker if it dies, and whoever killed its supervisor thinks that it is gone."""
        log.warning("The supervisor of this worker (pid %d) is gone", pid)
        if not self._stops:
            self.stop()

    def _stopping(self) -> str:
        running = len(self.slots)
        if not running:
            return "Stopping."
        jobs, them = ("job", "it") if running == 1 else ("jobs", "them")
        return f"Stopping after {running} running {jobs}. Ctrl-C again stops {them} now."

    def finish(self) -> None:
        """Record that this worker has ended, and give up its name."""
        with self.queue.store.writer.transaction():
            self.queue.note_worker(self.row.name, e.WorkerStopped(jobs=self.jobs_done))
            self.queue.store.workers.forget(self.row)
        counts = ", ".join(f"{count} {word}" for word, count in sorted(self.tally.items()))
        runs = f"{self.jobs_done} run{'' if self.jobs_done == 1 else 's'}: {counts}" if counts else "no runs"
        log.info("Worker %s ended after %s", self.row.name, runs)

    def kill(self) -> None:
        """Kill every command at once: when this worker has to end and cannot wait."""
        self.commands.kill_all()

    # ── running jobs ────────────────────────────────────────────────────────────────────────────────

    def _collect(self, now: int) -> None:
        for ended in self.commands.ended():
            slot = self.slots.pop(ended.job_id)
            self._results.add(outcome(slot, ended.exit, self.random), slot.job, now)

    def _enforce_deadlines(self, now: int) -> None:
        """Timeouts, the end of grace periods, and processes that jobs left in the background."""
        for slot in self.slots.values():
            if not slot.ending and slot.deadline is not None and now >= slot.deadline:
                self._end(slot, "timeout")
            if slot.kill_at is not None and now >= slot.kill_at:
                self.commands.end(slot.job.id, force=True)
                slot.kill_at = now + SECOND  # again, for processes that were forked meanwhile
        self._leftovers = self.commands.end_leftovers(self.options.grace)

    def _end(self, slot: Slot, why: str) -> None:
        if not slot.ending:
            log.info("job %s: stopping it (%s)", slot.job.id, why)
            slot.ending, slot.kill_at = why, self.clock.monotonic() + (0 if why == FREED else self.options.grace)
            self.commands.end(slot.job.id, force=False)

    # ── heartbeats, and what others ask of this worker ──────────────────────────────────────────────

    def _follow_requests(self, now: int) -> None:
        if now >= self._heartbeat.next_at:
            self._write_heartbeat(now)
            for job in self._claims.freed([slot.job for slot in self.slots.values()]):
                self._end(self.slots[job.id], FREED)
        elif not self._claims.others_wrote():
            return
        stops, cancelled = self.queue.store.workers.asked(self.row.name)
        if stops < self._stops and self.failure is None:
            self.queue.store.workers.ask_to_stop(self.row.name, self._stops)
        for _ in range(self._stops, stops):
            self.stop()
        for slot in filter(None, map(self.slots.get, cancelled)):
            self._end(slot, "cancel")
        self._due_at = None

    def _write_heartbeat(self, now: int) -> None:
        if not self._heartbeat.write(self.slots, self.jobs_done, now):
            self._lose_name()

    def _lose_name(self) -> None:
        """Others see no heartbeat of ours any more: claim no more; running jobs have until the lease is over."""
        if self.failure is None:
            why = "was silent for so long that another worker took its name"
            self.failure = RefusedError(f"worker {self.row.name} {why}: give each worker its own --name")
            log.error("%s; claiming no more jobs, %d running", self.failure, len(self.slots))

    # ── the transaction of a round ──────────────────────────────────────────────────────────────────

    def _record_and_claim(self, limit: int, now: int) -> list[Job]:
        """One transaction: results that are due, then up to `limit` claims with their locks. The claimed jobs, started.

        Raises NotArchivedError after all of this when only the copy to the archive failed.
        """
        results = list(self._results.waiting.values()) if self._results_are_due(now) else []
        unarchived: NotArchivedError | None = None
        try:
            with self._claims.reserving() as reserve, self.queue.store.writer.transaction(durable=bool(results)):
                recorded = self._results.append(results)
                claimed = self._claims.take(limit, reserve)
        except NotArchivedError as error:
            unarchived = error
        self._results.remove(results)
        self._log(recorded)
        for job in claimed:
            self._start(job)
        if unarchived is not None:
            raise unarchived
        return claimed

    def _results_are_due(self, now: int) -> bool:
        due = self._results.due_at
        return due is not None and (not self.slots or now >= due)

    def _log(self, recorded: Sequence[Recorded | Rejected]) -> None:
        for each in recorded:
            if isinstance(each, Rejected):
                rejected = each.result.job
                log.warning("job %s run %d: its result was rejected, %s", rejected.id, rejected.run, each.why)
                continue
            (command, claimed), job = each
            self.jobs_done += 1
            self.tally[summary_word(command, job)] += 1
            self._due_at = None
            log.info("job %s run %d %s", job.id, claimed.run, how_it_ended(command, job))

    def _record_unless_claiming(self, now: int) -> None:
        """A claim in this round takes the results along."""
        if self._results_are_due(now) and not self._may_claim(now):
            self._record_and_claim(0, now)

    # ── claiming ────────────────────────────────────────────────────────────────────────────────────

    def _claim(self, now: int) -> None:
        if not self._may_claim(now) or self._nothing_is_due(now):
            return
        limit = self._free()
        claimed = len(self._record_and_claim(limit, now))
        self._claims_left = self._claims_left and self._claims_left - claimed
        self._exhausted = claimed < limit
        if self._exhausted:
            self._due_at = self._claims.when_due()

    def _may_claim(self, now: int) -> bool:
        return self._free() > 0 and (self._due_at is None or now >= self._due_at)

    def _nothing_is_due(self, now: int) -> bool:
        """After a claim that found too few jobs, look without the log's lock first: a wake-up wakes every worker."""
        if not self._exhausted or (wait := self._claims.until_due()) <= 0:
            return False
        self._due_at = self.clock.monotonic() + wait
        self._record_unless_claiming(now)
        return True

    def _free(self) -> int:
        """How many jobs may be claimed."""
        if self._stops or self.failure or self._claims_left == 0 or self._shortage.lasts:
            return 0
        free = self.options.slots - len(self.slots)
        return free if self._claims_left is None else min(free, self._claims_left)

    def _start(self, job: Job) -> None:
        if (now := self.clock.monotonic()) >= self._fence.at:  # the claim took too long
            self.commands.unreserve(job.id)
            self._results.add(Release(job.id, job.run, OUT_OF_REACH), job, now)
            return
        log.debug("job %s run %d: starting %s", job.id, job.run, job.spec.command)
        try:
            failed = self.commands.start(job)
        except ShortageError as error:
            self._put_back(job, str(error))
            return
        now = self.clock.monotonic()
        self._shortage.end()
        if failed is not None:
            log.warning("job %s run %d: %s", job.id, job.run, explain_cause(failed.cause) if failed.cause else "")
            self._results.add(Report(job.id, job.run, failed, self.random()), job, now)
            return
        timeout = job.spec.timeout
        self.slots[job.id] = Slot(job, None if timeout is None else now + timeout)

    def _put_back(self, job: Job, why: str) -> None:
        """This machine can start nothing at the moment, which is not the job's fault: any worker may try again."""
        self._shortage.begin()
        log.warning("job %s run %d: put back, this machine can start no process: %s", job.id, job.run, why)
        self._results.add(Release(job.id, job.run, f"could not be started: {why}"), job, self.clock.monotonic())

    # ── when to run the next round, and when to end ──────────────────────────────────────────────────────────────

    def _go_on_without_store(self, error: StoreError, now: int) -> float:
        """Claim no more, let running jobs end, and keep trying for a while to record their results."""
        self.failure = error
        if self._store_failed_at is None:
            log.error("%s; claiming no more jobs, %d running", error, len(self.slots))
        if self._store_failed_at is None or self.slots:
            self._store_failed_at = now
        if now - self._store_failed_at >= self.options.grace or not (self.slots or self._results.waiting):
            self._results.log_lost()
            raise error
        return RETRY_FAILED_STORE_AFTER / SECOND

    def _is_over(self) -> bool:
        if self.slots or self._results.waiting or self._leftovers:
            return False
        if self._stops or self.failure or self._claims_left == 0 or (self.options.once and self._exhausted):
            return True
        return (
            self.options.drain
            and self._exhausted
            and not self.queue.unfinished(self.options.queues, self.options.inside)
        )

    def _delay(self, now: int) -> int:
        moments = [self._heartbeat.next_at, self._reclaimer.next_at, self._fence.at]
        moments += [slot.kill_at or slot.deadline or self._heartbeat.next_at for slot in self.slots.values()]
        moments += [self._results.due_at] if self._results.due_at is not None else []
        moments += [self._due_at] if self._due_at is not None and self._free() > 0 else []
        moments += [self._shortage.until] if self._shortage.lasts else []
        moments += [now + CHECK_LEFTOVERS_EVERY] if self._leftovers else []
        return max(0, min(moments) - now)
