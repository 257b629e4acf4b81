"""The main loop of one worker. Each `tick` collects ended runs, stops jobs that must stop, writes the heartbeat, frees
the jobs of lost workers, records results, claims and starts jobs, and returns when to call it again.

It does no I/O of its own: queue, commands, clock and random numbers are passed in, so that tests drive it in virtual
time. Moments are microseconds on the monotonic clock.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from queuectl.application.queue import Queue
from queuectl.domain import events as e
from queuectl.domain.names import PAUSE_ALL
from queuectl.errors import NotArchivedError, QueuectlError, StoreBusyError, StoreError
from queuectl.process.protocol import Commands
from queuectl.runtime import Clock, Reach
from queuectl.store.rows import WorkerRow
from queuectl.units import SECOND, counted
from queuectl.worker.ahead import Ahead, ClaimedJob
from queuectl.worker.claims import LOOK_EVERY, Claims, Reserve, claimant
from queuectl.worker.demand import Demand
from queuectl.worker.drain import Drain
from queuectl.worker.ending import NEVER, Ending
from queuectl.worker.heartbeat import Heartbeat, LeaseFence
from queuectl.worker.log import RunLog, log
from queuectl.worker.options import WorkerOptions
from queuectl.worker.reclaimer import Reclaimer
from queuectl.worker.results import GROUP_FOR, Recorded, Rejected, Result, Results, parts
from queuectl.worker.running import LOOK_AT_LEFTOVERS_EVERY, RunningJobs
from queuectl.worker.scheduler import Scheduler
from queuectl.worker.shortage import Shortage
from queuectl.worker.slots import BATCH_STOPPED, FREED, NO_SLOT, PAUSED, STOPPING, Slot
from queuectl.worker.store_outage import RETRY_BUSY_AFTER, RETRY_FAILED_AFTER, StoreOutage

__all__ = ["Worker"]

PART, MANY = 6, 10_000
"""A transaction pauses after this many results or claims to start jobs in free slots."""


@dataclass
class Worker:
    """See the module's docstring. `row` is this worker's row in the store. `slots` holds the jobs that run, by id.

    `_full_round_at`: until then a round only starts jobs that are claimed already, unless another process writes.
    """

    queue: Queue
    commands: Commands
    clock: Clock
    random: Callable[[], float]
    row: WorkerRow
    options: WorkerOptions

    def __post_init__(self) -> None:
        queue, commands, clock, lease = self.queue, self.commands, self.clock, self.options.lease
        self.slots: dict[str, Slot] = {}
        self.run_log = RunLog()
        self._full_round_at = 0
        self._ending = Ending(self.options.stop_timeout)
        self._outage = StoreOutage()
        self._fence = LeaseFence(commands, lease)
        self._heartbeat = Heartbeat(queue.store, clock, self.row, self._fence)
        self._reclaimer = Reclaimer(queue, commands, clock, self.row, lease, self.options.machine_losses)
        self._scheduler = Scheduler(queue, clock)
        self._drain = Drain(queue, self.options)
        self._results = Results(queue)
        self._claims = Claims(queue, commands, clock, claimant(self.row, lease, commands.uid), self.options.queues)
        self._ahead = Ahead(self.options.ahead)
        self._shortage = Shortage(clock)
        shared = (self._results, self._fence, self._shortage, self.run_log)
        self._running = RunningJobs(commands, clock, self.random, self.slots, *shared, self.options.grace)
        self._demand = Demand(self.options, self.slots, self._claims, self._ahead, self._ending, self._shortage)
        self._part = MANY if queue.store.location.reach is Reach.SEVERAL_HOSTS else PART

    @property
    def failure(self) -> QueuectlError | None:
        """The error that this worker ends with."""
        return self._ending.failure

    def start(self) -> None:
        """Register this worker and record that it has started."""
        row = self.row
        self._write_heartbeat(self.clock.monotonic())
        self.queue.note_worker(row.name, self.options.started(row, self.commands.lock_file))
        served = f"queue{'' if len(row.queues) == 1 else 's'} {', '.join(row.queues)}" if row.queues else "all queues"
        log.info("Worker %s started: %s, %s", row.name, counted(self.options.slots, "slot"), served)

    def tick(self) -> float | None:
        """Run one round. Returns the seconds until the next, or None when the worker has ended.

        Raises StoreError when the store cannot be used. When it is busy, the next round comes soon and tries again.
        """
        try:
            return self._round(self.clock.monotonic())
        finally:  # while a claimed job waits for a slot, or a result for its transaction, the next round is soon
            self.run_log.write(self.clock.monotonic() - GROUP_FOR if self._ahead or self._results.waiting else None)

    def _round(self, now: int) -> float | None:
        self._fence.enforce(self.slots, now)
        self._running.collect()
        if now >= self._ending.hurry_at:
            self._stop_what_runs()
        if not (only_starts := self._only_starts(now)):
            self._running.enforce_deadlines(now)
        try:
            others_wrote = self._claims.others_wrote(not_within=LOOK_EVERY if only_starts else 0)
            if only_starts and not others_wrote:
                self._start_ahead()
                return self._until(self._full_round_at)
            is_over = self._full_round(now, others_wrote)
        except StoreBusyError as error:
            if self._outage.failed(error, now) >= self.options.grace and self._ending.asked > 1 and not self.slots:
                self._results.log_lost()  # asked twice to end, with nothing left to do but to wait for the store
                raise
            self._full_round_at = 0
            return RETRY_BUSY_AFTER / SECOND
        except StoreError as error:
            return self._go_on_without_store(error, now)
        self._outage.ended(now)
        self._full_round_at = self._next_full_round(self.clock.monotonic())
        return None if is_over else self._until(self._full_round_at)

    def _full_round(self, now: int, others_wrote: bool) -> bool:
        """The part of a round that uses the store. Returns whether the worker has nothing left to do."""
        self._follow_requests(now, others_wrote)
        self._start_ahead()
        self._give_back_what_waits(now)
        mine = {*self.slots, *self._ahead.ids, *self._results.waiting}
        freed = self._reclaimer.tick(now, mine, self._claims.blocked)
        if self._scheduler.tick(now, others_wrote, self._demand.is_open()) or freed:
            self._demand.next_at = None  # a freed or a new job may be due now
        self._record_and_claim(now)
        return self._is_over()

    def stop(self) -> None:
        """Claim no more jobs and let running ones finish. On the second call, stop those too and put them back."""
        self.run_log.write()
        self._heartbeat.next_at = self._full_round_at = 0  # the heartbeat shows others that this worker is stopping
        self._ending.ask(self.clock.monotonic(), len(self.slots))
        if self._ending.asked == 2:
            self._running.collect()  # a command that has ended by itself keeps its result
            for slot in self.slots.values():
                self._running.end(slot, "stop")

    def _stop_what_runs(self) -> None:
        """The time to stop is over, and whoever set it kills this worker soon: end running jobs without delay."""
        self._ending.hurry_at = NEVER
        self._running.hurry()
        if self._ending.asked == 1:
            self.stop()

    def lose_supervisor(self) -> None:
        """Stop: nobody would replace this worker if it died, and who killed its supervisor expects it to end too."""
        if not self._ending.asked:
            self.stop()

    def finish(self) -> None:
        """Record that this worker has ended, and release its name."""
        with self.queue.store.writer.transaction():
            self.queue.note_worker(self.row.name, e.WorkerStopped(jobs=self.run_log.runs))
            self.queue.store.workers.forget(self.row)
        log.info("Worker %s ended after %s", self.row.name, self.run_log.summary())

    def kill(self) -> None:
        """Kill every command now, because this worker must end and cannot wait."""
        self.commands.kill_all()

    # ── heartbeats, and what others ask of this worker ──────────────────────────────────────────────

    def _follow_requests(self, now: int, others_wrote: bool) -> None:
        if now >= self._heartbeat.next_at:
            self._write_heartbeat(now)
            for job in self._claims.freed([slot.job for slot in self.slots.values()]):
                self._running.end(self.slots[job.id], FREED)
        elif not others_wrote:
            return
        self._read_requests()

    def _read_requests(self) -> None:
        self._results.limits_may_have_changed()
        stops, cancelled = self.queue.store.workers.asked(self.row.name)
        asked = self._ending.asked
        if stops < asked and self.failure is None:
            self.queue.store.workers.ask_to_stop(self.row.name, asked)
        for _ in range(asked, stops):
            self.stop()
        for slot in filter(None, map(self.slots.get, cancelled)):
            self._running.end(slot, "cancel")
        self._give_back_what_was_stopped(cancelled)
        self._demand.next_at = None

    def _write_heartbeat(self, now: int) -> None:
        if not self._heartbeat.write(self.slots, self.run_log.runs, now):
            self._ending.lose_name(self.row.name, len(self.slots))

    # ── the transaction of a round ──────────────────────────────────────────────────────────────────

    def _record_and_claim(self, now: int) -> None:
        """Record due results, then claim jobs with their locks, in one transaction, if there is anything to do."""
        results = list(self._results.waiting.values()) if self._results_are_due(now) else []
        limit = self._demand.wanted(now, bool(results))
        if results or limit:
            self._demand.claimed(self._transact(results, limit), limit)

    def _transact(self, results: Sequence[Result], limit: int) -> int:
        """Returns how many jobs were claimed. They are started, or held until there is a slot.

        When the transaction was committed and only its copy to the archive failed, this raises NotArchivedError last.
        """
        recorded: list[Recorded | Rejected] = []
        claimed: list[ClaimedJob] = []
        unarchived: NotArchivedError | None = None
        writer, meanwhile = self.queue.store.writer, self._refill if self._ahead else None
        try:
            with (
                self._claims.reserving() as reserve,
                writer.transaction(durable=bool(results), meanwhile=meanwhile),
            ):
                if self._claims.begin():
                    self._read_requests()
                for part in parts(results, self._part):
                    recorded += self._results.append(part)
                    self._refill()
                if self._ahead and (stopped := self._results.stopped_batches()):
                    self._running.give_back(self._ahead.take_if(lambda job: job.spec.batch in stopped), BATCH_STOPPED)
                self._claim(limit if self._demand.is_open() else 0, reserve, claimed)
        except NotArchivedError as error:
            unarchived = error
        now = self.clock.monotonic()
        self._results.remove(results, now)
        for each in claimed:
            self._ahead.add(each, now)
        self._running.collect()
        self._start_ahead()
        self._log(recorded)
        if unarchived is not None:
            raise unarchived
        return len(claimed)

    def _claim(self, limit: int, reserve: Reserve, claimed: list[ClaimedJob]) -> None:
        """Claim up to `limit` jobs, and more while they have a higher priority than the jobs already held."""
        while len(claimed) < limit:
            part = self._claims.take(min(limit - len(claimed), self._part), reserve)
            if not part:
                return
            claimed += part
            self._results.look_up_limits(each.job for each in part)
            if len(claimed) == limit:
                limit += self._ahead.outranked_by(part[-1].job)
            self._refill()

    def _refill(self) -> None:
        """Start jobs in free slots between two parts of a transaction, so that no slot waits for the whole of it.

        Not on a server: other hosts would wait for the log's lock meanwhile.
        """
        if self.queue.store.location.reach is Reach.ONE_HOST:
            if self.slots:
                self._running.collect()
            self._start_ahead()

    def _results_are_due(self, now: int) -> bool:
        due = self._results.due_at
        return due is not None and (now >= due or not (self.slots or self._ahead))

    def _log(self, recorded: Sequence[Recorded | Rejected]) -> None:
        for each in recorded:
            if isinstance(each, Rejected):
                each.log()
            elif each[0].had_started:
                result, job = each
                self._demand.next_at = None
                self.run_log.ended(result.command, result.job, job, result.ended_at)

    # ── starting claimed jobs, and giving them back ─────────────────────────────────────────────────

    def _only_starts(self, now: int) -> bool:
        """Whether this round only has to start jobs that are already claimed."""
        enough = self._demand.free() <= len(self._ahead) > 0
        return enough and now < self._full_round_at and not self._results_are_due(now)

    def _start_ahead(self) -> None:
        while self._ahead and self._demand.free() > 0 and (claimed := self._ahead.take(self._results.stalled)):
            self._start(claimed)

    def _start(self, claimed: ClaimedJob) -> None:
        slot = self._running.start(claimed)
        if slot is not None:
            self._ahead.started(self.clock.monotonic())
            self._full_round_at = min(self._full_round_at, slot.deadline or self._full_round_at)

    def _give_back_what_waits(self, now: int) -> None:
        """Give back claimed jobs that found no slot in time; all of them when this worker starts no more jobs."""
        self._running.give_back(self._ahead.take_overdue(now), NO_SLOT)
        if self._ending.has_begun:
            self._running.give_back(self._ahead.take_if(lambda job: True), STOPPING)

    def _give_back_what_was_stopped(self, cancelled: Collection[str]) -> None:
        """Give back claimed jobs that were cancelled, or whose queue was paused, after they were claimed."""
        if self._ahead:
            paused = self.queue.store.tables.pauses().keys()
            everything = PAUSE_ALL in paused
            stopped = self._ahead.take_if(lambda job: everything or job.spec.queue in paused or job.id in cancelled)
            self._running.give_back(stopped, PAUSED)

    # ── when to run the next round, and when to end ─────────────────────────────────────────────────

    def _go_on_without_store(self, error: StoreError, now: int) -> float:
        """Claim no more, let running jobs end, and keep trying for a while to record their results."""
        self._full_round_at = 0
        lasts = self._ending.lose_store(error, now, len(self.slots))
        if lasts >= self.options.grace or not (self.slots or self._results.of_runs):
            self._results.log_lost()
            raise error
        return RETRY_FAILED_AFTER / SECOND

    def _is_over(self) -> bool:
        if self.slots or self._ahead or self._results.waiting or self._running.leftovers:
            return False
        if self._ending.has_begun or self._demand.is_over():
            return True
        return self.options.drain and self._demand.exhausted and self._drain.is_over()

    def _next_full_round(self, now: int) -> int:
        moments = [
            *(self._heartbeat.next_at, self._reclaimer.next_at, self._scheduler.next_at),
            *(self._fence.at, self._ending.hurry_at),
            *(slot.kill_at or slot.deadline for slot in self.slots.values()),
            self._ahead.due_at,
            self._demand.next_at if self._demand.free() > 0 else None,
            self._shortage.until if self._shortage.lasts else None,
            now + LOOK_AT_LEFTOVERS_EVERY if self._running.leftovers else None,
        ]
        return min(moment for moment in moments if moment is not None)

    def _until(self, moment: int) -> float:
        """Seconds until `moment`, or until results are due if that is sooner."""
        due = self._results.due_at
        soonest = moment if due is None else min(moment, due)
        return max(0, soonest - self.clock.monotonic()) / SECOND
