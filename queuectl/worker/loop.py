"""One worker: `tick()` reaps, ends, reports, beats, reclaims and claims, and says when it wants to be called again.

It does no I/O of its own. The queue, the runner of commands, the clock and chance are passed in, so that tests
drive it in virtual time. Moments are microseconds on the monotonic clock.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from queuectl.application.queue import Queue
from queuectl.domain import events as e
from queuectl.domain.commands import Release, Report
from queuectl.domain.job import Job, explain_cause
from queuectl.errors import QueuectlError, RefusedError, StoreBusyError, StoreError
from queuectl.process.protocol import Commands, ShortageError
from queuectl.runtime import Clock
from queuectl.store.protocol import WorkerRow
from queuectl.units import SECOND
from queuectl.worker.claims import Claiming, claimant
from queuectl.worker.reclaimer import Reclaimer
from queuectl.worker.results import Results
from queuectl.worker.slots import FREED, LEASE, OUT_OF_REACH, Slot, outcome
from queuectl.worker.store_outage import Patience

__all__ = ["Worker", "WorkerOptions"]

BEAT_AT_MOST_EVERY = 5 * SECOND
LOOK_AT_LEFTOVERS_EVERY = SECOND // 10
RETRY_BUSY_STORE_AFTER = 20_000
RETRY_FAILED_STORE_AFTER = 200_000

log = logging.getLogger("queuectl.worker.loop")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker was asked to do. `grace` and `lease` are microseconds; no queues means all of them."""

    slots: int = 1
    queues: frozenset[str] = frozenset()
    grace: int = 10 * SECOND
    lease: int = 30 * SECOND
    drain: bool = False
    once: bool = False


@dataclass(slots=True)
class Worker:
    """See the module's docstring. `row` is who this worker is."""

    queue: Queue
    commands: Commands
    clock: Clock
    chance: Callable[[], float]
    row: WorkerRow
    options: WorkerOptions
    slots: dict[str, Slot] = field(default_factory=dict)
    jobs_done: int = 0
    tally: Counter[str] = field(default_factory=Counter)
    failure: QueuectlError | None = None
    _stopping: int = 0
    _claims_left: int | None = None
    _exhausted: bool = False
    _next_beat: int = 0
    _lives_until: int = 1 << 62  # for ever, where no other machine may start its jobs
    _due_at: int | None = None
    _leftovers: int = 0
    _failing_since: int | None = None
    _patience: Patience = field(default_factory=Patience)
    _reclaimer: Reclaimer = field(init=False)
    _results: Results = field(init=False)
    _claiming: Claiming = field(init=False)

    def __post_init__(self) -> None:
        self._reclaimer = Reclaimer(self.queue, self.commands, self.clock, self.row, self.options.lease)
        self._results = Results(self.queue)
        self._claiming = Claiming(
            self.queue,
            self.commands,
            self.clock,
            claimant(self.row, self.options.lease, self.commands.uid),
            self.options.queues,
        )
        self._claims_left = 1 if self.options.once else None

    def start(self) -> None:
        """Make this worker known."""
        row, options = self.row, self.options
        event = e.WorkerStarted(host=row.host, pid=row.pid, slots=options.slots, queues=row.queues)
        self._beat(self.clock.monotonic())
        self.queue.note_worker(row.name, event)
        served = f"queues {', '.join(row.queues)}" if row.queues else "all queues"
        log.info("worker %s: %d slot%s, %s", row.name, options.slots, "" if options.slots == 1 else "s", served)

    def tick(self) -> float | None:
        """One round. Seconds until the next (a wake-up may come sooner), or None when the worker is through.

        Raises StoreError when the store cannot be used; a busy store is waited for.
        """
        now = self.clock.monotonic()
        self._keep_to_lease(now)
        self._reap(now)
        self._enforce(now)
        try:
            self._report(now)
            self._heed(now)
            self._reclaimer.tick(now, {*self.slots, *self._results.waiting}, self._claiming.blocked)
            self._claim(now)
            through = self._through()
        except StoreBusyError as error:
            self._patience.wait(error, now)
            return RETRY_BUSY_STORE_AFTER / SECOND
        except StoreError as error:
            return self._without_store(error, now)
        self._patience.over(now)
        return None if through else self._delay(self.clock.monotonic()) / SECOND

    def _without_store(self, error: StoreError, now: int) -> float:
        """The store cannot be used: claim no more, let what runs end, and try for a while to record the results."""
        self.failure = error
        if self._failing_since is None:
            log.error("%s; no more jobs are claimed, %d running", error, len(self.slots))
        if self._failing_since is None or self.slots:
            self._failing_since = now
        if now - self._failing_since >= self.options.grace or not (self.slots or self._results.waiting):
            self._results.lament()
            raise error
        return RETRY_FAILED_STORE_AFTER / SECOND

    def stop(self) -> None:
        """Claim no more and finish what runs; asked a second time, end what runs and release it."""
        self._stopping += 1
        if self._stopping == 1:
            log.info("stopping: %d running, no more are claimed (asked again: they are ended)", len(self.slots))
        if self._stopping == 2:
            self._reap(self.clock.monotonic())  # what has ended by itself has a result of its own
            for slot in self.slots.values():
                self._end(slot, "stop")

    def finish(self) -> None:
        """Say goodbye."""
        with self.queue.store.transaction():
            self.queue.note_worker(self.row.name, e.WorkerStopped(jobs=self.jobs_done))
            self.queue.store.forget(self.row)
        tally = ", ".join(f"{count} {state}" for state, count in sorted(self.tally.items()))
        log.info("worker %s has ended: %s", self.row.name, tally or "no jobs")

    def kill(self) -> None:
        """Kill every command at once: when this worker has to end and cannot wait."""
        self.commands.kill_all()

    # ── what runs ───────────────────────────────────────────────────────────────────────────────────

    def _reap(self, now: int) -> None:
        for ended in self.commands.ended():
            slot = self.slots.pop(ended.job_id)
            self._results.add(outcome(slot, ended.exit, self.chance), slot.job, now)

    def _enforce(self, now: int) -> None:
        """Timeouts, the end of grace periods, and what jobs left in the background."""
        for slot in self.slots.values():
            if not slot.ending and slot.deadline is not None and now >= slot.deadline:
                self._end(slot, "timeout")
            if slot.kill_at is not None and now >= slot.kill_at:
                self.commands.end(slot.job.id, force=True)
                slot.kill_at = now + SECOND  # again, for what was forked meanwhile
        self._leftovers = self.commands.end_leftovers(self.options.grace)

    def _keep_to_lease(self, now: int) -> None:
        """Kill what another machine may start again: this worker's last sign of life is too old."""
        if now >= self._lives_until:
            for slot in self.slots.values():
                if slot.ending != LEASE:
                    log.error("job %s: killing it, the store was not reached for as long as its lease", slot.job.id)
                    slot.ending, slot.kill_at = LEASE, now
                    self.commands.end(slot.job.id, force=True)
            self.commands.end_leftovers(0)

    def _end(self, slot: Slot, why: str) -> None:
        if not slot.ending:
            log.info("job %s: ending it (%s)", slot.job.id, why)
            slot.ending, slot.kill_at = why, self.clock.monotonic() + (0 if why == FREED else self.options.grace)
            self.commands.end(slot.job.id, force=False)

    def _report(self, now: int) -> None:
        """Unless a claim comes next: that takes them along."""
        if self._results_are_due(now) and not self._claims_now(now):
            self._tell(self._results.record())

    def _results_are_due(self, now: int) -> bool:
        due = self._results.due_at
        return due is not None and (not self.slots or now >= due)

    def _tell(self, ended: Sequence[Job]) -> None:
        for job in ended:
            self.jobs_done += 1
            self.tally[job.state.value] += 1
            self._due_at = None
            if log.isEnabledFor(logging.INFO):
                why = f": {job.last_error}" if job.exit_code else ""
                log.info("job %s run %d: %s%s", job.id, job.run, job.state, why)

    # ── signs of life, and what others ask ──────────────────────────────────────────────────────────

    def _heed(self, now: int) -> None:
        if now >= self._next_beat:
            self._beat(now)
            for job in self._claiming.freed([slot.job for slot in self.slots.values()]):
                self._end(self.slots[job.id], FREED)
        elif not self._claiming.anything_new():
            return
        stops, cancelled = self.queue.store.asked(self.row.name)
        while self._stopping < stops:
            self.stop()
        for slot in filter(None, map(self.slots.get, cancelled)):
            self._end(slot, "cancel")
        self._due_at = None

    def _beat(self, now: int) -> None:
        seconds = self.queue.store.now() // SECOND
        mine = self.queue.store.beat(
            replace(self.row, beat_at=now, last_heartbeat=seconds, running=len(self.slots), jobs_done=self.jobs_done)
        )
        if not mine:
            self._lost_name()
        elif self.queue.store.spans_hosts:
            self._keep_to_lease(self.clock.monotonic())  # if the beat hung for that long, all has been killed by now
            self._lives_until = now + self.options.lease * 3 // 4  # counted from before the beat was written
            self.commands.live_until(self._lives_until)
        self._next_beat = now + min(self.options.lease // 4, BEAT_AT_MOST_EVERY)

    def _lost_name(self) -> None:
        """So no sign of life is left of us: claim no more, and what runs has until the lease is over."""
        if self.failure is None:
            why = "was silent for so long that another worker of its name was started"
            self.failure = RefusedError(f"worker {self.row.name} {why}: give each worker a --name of its own")
            log.error("%s; no more jobs are claimed, %d running", self.failure, len(self.slots))

    # ── claiming ────────────────────────────────────────────────────────────────────────────────────

    def _claim(self, now: int) -> None:
        if not self._claims_now(now) or self._nothing_is_due(now):
            return
        limit, ended = self._free(), list[Job]()
        turn = self._results.recorded(ended) if self._results_are_due(now) else None
        jobs = self._claiming.take(limit, turn)
        self._tell(ended)
        self._claims_left = self._claims_left and self._claims_left - len(jobs)
        for job in jobs:
            self._start(job)
        self._exhausted = len(jobs) < limit
        if self._exhausted:
            self._due_at = self._claiming.when_due()
        self._results.complain()

    def _claims_now(self, now: int) -> bool:
        return self._free() > 0 and (self._due_at is None or now >= self._due_at)

    def _nothing_is_due(self, now: int) -> bool:
        """Having found too little before, look first without the log's lock: what wakes one worker wakes all."""
        if not self._exhausted or (wait := self._claiming.until_due()) <= 0:
            return False
        self._due_at = self.clock.monotonic() + wait
        self._report(now)
        return True

    def _free(self) -> int:
        if self._stopping or self.failure or self._claims_left == 0 or self._claiming.held_off:
            return 0
        free = self.options.slots - len(self.slots)
        return free if self._claims_left is None else min(free, self._claims_left)

    def _start(self, job: Job) -> None:
        if (now := self.clock.monotonic()) >= self._lives_until:  # the answer to the claim came too late
            self.commands.unreserve(job.id)
            self._results.add(Release(job.id, job.run, OUT_OF_REACH), job, now)
            return
        log.debug("job %s run %d: starting %s", job.id, job.run, job.spec.command)
        try:
            failed = self.commands.start(job)
        except ShortageError as error:
            self._give_back(job, str(error))
            return
        now = self.clock.monotonic()
        self._claiming.go_on()
        if failed is not None:
            log.warning("job %s run %d: %s", job.id, job.run, explain_cause(failed.cause) if failed.cause else "")
            self._results.add(Report(job.id, job.run, failed, self.chance()), job, now)
            return
        timeout = job.spec.timeout
        self.slots[job.id] = Slot(job, None if timeout is None else now + timeout)

    def _give_back(self, job: Job, why: str) -> None:
        """Nothing can be started here for now, which is not the job's doing: any worker may try again."""
        self._claiming.hold_off()
        log.warning("job %s run %d: nothing can be started (%s): given back", job.id, job.run, why)
        self._results.add(Release(job.id, job.run, f"could not be started: {why}"), job, self.clock.monotonic())

    # ── when to go on, and when to end ──────────────────────────────────────────────────────────────

    def _through(self) -> bool:
        if self.slots or self._results.waiting or self._leftovers:
            return False
        if self._stopping or self.failure or self._claims_left == 0 or (self.options.once and self._exhausted):
            return True
        return self.options.drain and self._exhausted and not self.queue.unfinished(self.options.queues)

    def _delay(self, now: int) -> int:
        moments = [self._next_beat, self._reclaimer.next_at, self._lives_until]
        moments += [slot.kill_at or slot.deadline or self._next_beat for slot in self.slots.values()]
        moments += [self._results.due_at] if self._results.due_at is not None else []
        moments += [self._due_at] if self._due_at is not None and self._free() > 0 else []
        moments += [self._claiming.held_until] if self._claiming.held_off else []
        moments += [now + LOOK_AT_LEFTOVERS_EVERY] if self._leftovers else []
        return max(0, min(moments) - now)
