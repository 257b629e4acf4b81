"""The use cases: load, decide, append. After a version conflict, and only then, decide again."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from queuectl.domain import commands as c
from queuectl.domain import events as e
from queuectl.domain.job import Job
from queuectl.domain.machine import FINISHED, State
from queuectl.domain.names import PAUSE_ALL, SETTINGS_STREAM, batch_stream, queue_stream, worker_stream
from queuectl.errors import NoSuchJobError, QueuectlError, RefusedError, UsageError
from queuectl.runtime import new_id
from queuectl.store.errors import DamagedError, DamagedEventError, VersionConflictError
from queuectl.store.rows import Change, JobFilter, WorkerRow
from queuectl.units import SECOND

if TYPE_CHECKING:
    from queuectl.store.protocol import Store

__all__ = ["NewJob", "Queue", "Receipt"]

AHEAD = 16
"""How many ids more than needed a claim looks up, as hints for the next claims."""
LOADED = 500
"""Jobs that are loaded with one question."""
SILENT = 30 * SECOND
"""A worker without a heartbeat for this long is not counted on. A live one sends one every 5 s or more often."""


class NewJob(Struct, frozen=True, gc=False):
    """A job to add; one without an id gets one. `line` is its line in a file, for errors."""

    spec: e.Enqueued
    id: str | None = None
    line: int | None = None


class Receipt(Struct, frozen=True, gc=False):
    """The result of adding a job: the id of the new job, or of the job that was already there."""

    id: str
    created: bool


Added: TypeAlias = tuple[list[Receipt], dict[str, Job]]
"""Receipts in the order of the jobs that were asked for, and the new jobs by id."""


class Queue:
    """Every change that can be made to a queue, in the name of `actor`."""

    def __init__(self, store: "Store", actor: str) -> None:
        self.store = store
        self.actor = actor

    # ── the one way that a command becomes events ───────────────────────────────────────────────────

    def execute(self, commands: Sequence[c.Command], known: Mapping[str, Job] | None = None) -> list[Job | None]:
        """Carry out all commands or none, each for a different job. Returns the resulting jobs, in order.

        `known` jobs are not loaded. If one is out of date, the append fails and everything is decided again.
        Raises RefusedError or NoSuchJobError.
        """
        try:
            return self._carry_out(commands, known or {})
        except VersionConflictError:
            with self._alone():
                return self._carry_out(commands, {})

    def _carry_out(self, commands: Sequence[c.Command], known: Mapping[str, Job]) -> list[Job | None]:
        now, keys = self.store.log.wall(), dict[str, str]()
        return self.store.writer.append([self._change(command, known, now, keys) for command in commands], self.actor)

    @contextmanager
    def _alone(self, *, durable: bool = True) -> Iterator[None]:
        """Hold the log's lock. No other process can change a job meanwhile, so a version conflict means damage."""
        with self.store.writer.transaction(durable=durable):
            try:
                yield
            except VersionConflictError as error:
                raise DamagedError("the queue is damaged, an index and its table disagree") from error

    def _change(self, command: c.Command, known: Mapping[str, Job], now: int, keys: dict[str, str]) -> Change:
        job = known.get(command.job_id) or self.store.log.load(command.job_id)
        if isinstance(command, c.Requeue) and job is not None and job.spec.after and not job.freed:
            from queuectl.application.dependency_cycles import refuse_retry  # few jobs that end were never freed

            refuse_retry(self.store, job)
        return self._decided(command, job, now, keys, self._holder(command, job, keys))

    def _decided(
        self, command: c.Command, job: Job | None, now: int, keys: dict[str, str], holder: str | None
    ) -> Change:
        key = _key(command, job)
        events = c.decide(command, job, now, holder)
        if events and key is not None:
            keys[key] = command.job_id
        return Change(command.job_id, job.version if job else 0, events, job)

    def _holder(self, command: c.Command, job: Job | None, keys: dict[str, str]) -> str | None:
        """The other live job that has the command's unique key, or gets it in this batch (`keys`)."""
        key = _key(command, job)
        holder = None if key is None else keys.get(key) or self.store.tables.holder(key)
        return None if holder == command.job_id else holder

    # ── adding jobs ─────────────────────────────────────────────────────────────────────────────────

    def enqueue(self, jobs: Iterable[NewJob], opening: e.BatchOpened | None = None) -> list[Receipt]:
        """Add all jobs or none. Raises RefusedError when an id is taken, UsageError when a job would wait for itself.

        `opening` is recorded with the jobs of a batch when any of them is new, or its limit of failures is; its number
        of jobs is counted here. Raises RefusedError when too many jobs would be pending in a batch with such a limit.
        """
        return self.add(jobs, opening)[0]

    def add(self, jobs: Iterable[NewJob], opening: e.BatchOpened | None = None) -> Added:
        """The same as `enqueue`; returns the new jobs too, by id, so that the caller need not read them again."""
        wanted = list(jobs)
        for job in wanted:
            if not isinstance(job.spec, e.Enqueued):
                raise UsageError(f"a job's spec is an Enqueued event, not {job.spec!r}")
        if any(job.spec.after and job.spec.batch for job in wanted):
            return self._add_to_waiting_batches(wanted, opening)
        try:
            return self._add(wanted, opening)
        except VersionConflictError:
            with self._alone():
                return self._add(wanted, opening)

    def _add_to_waiting_batches(self, jobs: Sequence[NewJob], opening: e.BatchOpened | None) -> Added:
        """Two processes that add such jobs at once must not make two batches wait for each other."""
        from queuectl.application.dependency_cycles import refuse_cycles_through_batches

        with self._alone():
            refuse_cycles_through_batches(self.store, jobs)
            return self._add(jobs, opening)

    def _add(self, jobs: Sequence[NewJob], opening: e.BatchOpened | None) -> Added:
        receipts, changes = self._intake(jobs)
        if opening is not None and jobs:
            changes = [*self._opened(jobs[0].spec.batch or "", replace(opening, jobs=len(changes))), *changes]
        added = self.store.writer.append(changes, self.actor)
        return receipts, {job.id: job for job in added if job is not None}

    def _opened(self, batch: str, event: e.BatchOpened) -> list[Change]:
        """The event that is recorded with the new jobs of a batch. The limit of failures stays unless there is another.

        Without new jobs it is recorded only for another limit.
        """
        from queuectl.application.batch_limits import check_pending
        from queuectl.store.batch_limits import limit_of

        stream = batch_stream(batch)
        version = self.store.log.version(stream)
        before = limit_of(self.store.log, batch) if version else None
        limit = before if event.max_failures is None else event.max_failures
        if not event.jobs and limit == before:
            return []
        check_pending(self.store, batch, event.jobs, limit)
        return [Change(stream, version, [replace(event, max_failures=limit)])]

    def _intake(self, jobs: Sequence[NewJob]) -> tuple[list[Receipt], list[Change]]:
        """Decide on each job, with the jobs before it in the batch taken into account."""
        known = self._known([job.id for job in jobs if job.id is not None])
        now = self.store.log.wall()
        receipts: list[Receipt] = []
        batch: dict[str, Change] = {}
        keys: dict[str, str] = {}
        for job in jobs:
            job_id = job.id or new_id(now)
            if job_id in batch:
                _refuse_another(job, job_id, batch[job_id])
                receipts.append(Receipt(job_id, False))
                continue
            change, answering = self._enqueueing(job, c.Enqueue(job_id, job.spec), known.get(job_id), keys, now)
            if change.events:
                batch[job_id] = change
            receipts.append(Receipt(answering, bool(change.events)))
        return receipts, list(batch.values())

    def _known(self, ids: Sequence[str]) -> dict[str, Job]:
        """The jobs that have these ids already. Raises DamagedEventError."""
        known: dict[str, Job] = {}
        for start in range(0, len(ids), LOADED):
            for job_id, found in self.store.log.load_all(ids[start : start + LOADED]).items():
                if isinstance(found, DamagedEventError):
                    raise found
                if found is not None:
                    known[job_id] = found
        return known

    def _enqueueing(
        self, job: NewJob, command: c.Enqueue, known: Job | None, keys: dict[str, str], now: int
    ) -> tuple[Change, str]:
        """The change and the id to return. The key's holder is looked up once, because it may end meanwhile."""
        job_id = command.job_id
        holder = self._holder(command, known, keys)
        try:
            change = self._decided(command, known, now, keys, holder)
        except RefusedError as error:
            raise RefusedError(_at_line(job, str(error))) from None
        return change, job_id if change.job or holder is None else holder

    # ── what people ask of jobs ─────────────────────────────────────────────────────────────────────

    def cancel(self, ids: Sequence[str], reason: str = "") -> list[Job | None]:
        """Cancel jobs: pending ones at once; running ones are stopped by their worker."""
        return self.execute([c.Cancel(job_id, reason) for job_id in ids])

    def requeue(self, ids: Sequence[str], reason: str = "") -> list[Job | None]:
        """Run finished or purged jobs again."""
        with self.store.writer.transaction():  # so that no job is added meanwhile that closes a cycle
            return self.execute([c.Requeue(job_id, reason=reason) for job_id in ids])

    def requeue_those_that_can(self, ids: Sequence[str], reason: str = "") -> dict[str, QueuectlError]:
        """Run every job again that can be. Returns the jobs that were left, and why."""
        return self.each_that_can([c.Requeue(job_id, reason=reason) for job_id in ids])

    def cancel_those_that_can(self, ids: Sequence[str], reason: str = "") -> dict[str, QueuectlError]:
        """Cancel the jobs that have not ended meanwhile. Returns the jobs that could not be cancelled, and why."""
        return self.each_that_can([c.Cancel(job_id, reason) for job_id in ids])

    def each_that_can(self, commands: Sequence[c.Command]) -> dict[str, QueuectlError]:
        """Carry out every command that is allowed, in one transaction. Returns the jobs that were left, and why."""
        left: dict[str, QueuectlError] = {}
        with self.store.writer.transaction():
            for command in commands:
                try:
                    self.execute([command])
                except (RefusedError, NoSuchJobError, DamagedEventError) as error:
                    left[command.job_id] = error
        return left

    def unblock(self, ids: Sequence[str], reason: str = "") -> list[Job | None]:
        """Start jobs that wait for others without waiting."""
        return self.execute([c.Unblock(job_id, reason) for job_id in ids])

    def purge(self, ids: Sequence[str], reason: str = "") -> list[Job | None]:
        """Take finished jobs out of the tables."""
        return self.execute([c.Purge(job_id, reason) for job_id in ids])

    def purge_those_that_can(self, ids: Sequence[str], reason: str = "") -> dict[str, QueuectlError]:
        """Take every job out of the tables that can be. Returns the jobs that were left, and why."""
        return self.each_that_can([c.Purge(job_id, reason) for job_id in ids])

    def resolve(self, texts: Sequence[str]) -> list[str]:
        """Whole ids for ids, numbers, beginnings and ends of ids: see `job_ids.resolve`."""
        from queuectl.application.job_ids import resolve  # `enqueue` names no job

        return resolve(self.store, self.actor, texts)

    # ── what people ask of queues and settings ──────────────────────────────────────────────────────

    def pause(self, queue: str = PAUSE_ALL) -> bool:
        """Stop claiming from a queue, or from all. Returns False if it was paused already."""
        return self._note(queue_stream(queue), lambda: queue not in self.store.tables.pauses(), e.QueuePaused())

    def resume(self, queue: str = PAUSE_ALL) -> bool:
        """Resume claiming. Returns False if it was not paused."""
        return self._note(queue_stream(queue), lambda: queue in self.store.tables.pauses(), e.QueueResumed())

    def unserved(self, queues: Collection[str], rows: Sequence[WorkerRow] | None = None) -> list[str]:
        """Those of these queues that no worker serves. `rows`: the workers that live; None: by their heartbeats."""
        if rows is None:
            since = self.store.log.wall() - SILENT
            rows = [row for row in self.store.workers.rows() if row.last_heartbeat * SECOND >= since]
        at_work = [row for row in rows if row.slots and not row.stop_requested]
        return [name for name in queues if not any(not row.queues or name in row.queues for row in at_work)]

    def all_paused(self) -> bool:
        """Whether all queues are paused."""
        return PAUSE_ALL in self.store.tables.pauses()

    def change_setting(self, key: str, value: str | None) -> bool:
        """`config set`, or `unset` with None. Returns False if nothing had to be changed."""
        event = e.SettingChanged(key=key, value=value)
        return self._note(SETTINGS_STREAM, lambda: self.store.tables.settings().get(key) != value, event)

    def note_worker(self, worker: str, event: e.Event) -> None:
        """Record the start, end or loss of a worker."""
        self._note(worker_stream(worker), lambda: True, event)

    def lose_worker(self, worker: WorkerRow) -> None:
        """Record once that a worker was lost, and remove its row. A row without slots only reserved a name."""
        with self._alone():
            if self.store.workers.forget(worker) and worker.slots:
                self.note_worker(worker.name, e.WorkerLost(noticed_by=self.actor))

    def _note(self, stream: str, needed: Callable[[], bool], event: e.Event) -> bool:
        with self._alone():
            if not needed():
                return False
            self.store.writer.append([Change(stream, self.store.log.version(stream), [event])], self.actor)
            return True

    # ── what workers ask ────────────────────────────────────────────────────────────────────────────

    def claim(
        self,
        claimant: c.Claimant,
        queues: Collection[str],
        limit: int,
        reserve: Callable[[Job], bool],
        hints: list[str] | None = None,
    ) -> list[Job]:
        """Take up to `limit` due jobs, each only after `reserve` has its lock. Does not wait for the disk.

        `hints` are the ids that were next a moment ago. They are used first, and refilled when a search is needed.
        """
        line = [] if hints is None else hints
        with self._alone(durable=False):
            now, behind_for = self.store.log.wall(), self.store.log.behind_for()
            blocked, changes = set[str](), dict[str, Change]()
            while len(changes) < limit:
                if searched := not line:
                    wanted_now, skip = limit - len(changes) + AHEAD, blocked | changes.keys()
                    line += self.store.tables.claimable(queues, wanted_now, now, skip, behind_for)
                if not line:
                    break
                wanted = line[: limit - len(changes)]
                del line[: len(wanted)]
                loaded = self.store.log.load_all(wanted)
                for job_id in wanted:
                    command = c.Claim(job_id, claimant, self.store.tables.waited(loaded[job_id], now, behind_for))
                    job, events = self._claimed(command, loaded[job_id], now, searched)
                    if job is not None and reserve(job):
                        changes[job_id] = Change(job_id, job.version, events, job)
                    elif searched:
                        blocked.add(job_id)
            return [job for job in self.store.writer.append([*changes.values()], self.actor) if job is not None]

    def _claimed(
        self, command: c.Claim, found: Job | DamagedEventError | None, now: int, searched: bool
    ) -> tuple[Job | None, Sequence[e.Event]]:
        """The job and the events of its claim; no job if it cannot be claimed."""
        try:
            if not isinstance(found, DamagedEventError):
                return found, c.decide(command, found, now)
        except (NoSuchJobError, RefusedError):
            pass
        if searched and (command.behind_for is None or isinstance(found, DamagedEventError)):
            # The table and the log disagree: the log is right, so the job must not run.
            self.store.upkeep.quarantine(command.job_id)
        return None, ()

    def unfinished(self, queues: Collection[str], ignored: Collection[str] = ()) -> bool:
        """Whether any job in these queues (none: all) is processing, or pending in a queue that is not paused.

        Damaged jobs do not count: no worker has claimed them, and they are never due. Nor do the `ignored` jobs.
        """
        running = self.store.tables.jobs(JobFilter(states=(State.PROCESSING,), limit=0))
        held = [row for row in running if row["locked_by"] is not None and row["id"] not in ignored]
        runs = any(not queues or row["queue"] in queues for row in held)
        return runs or self.store.tables.next_due(queues) is not None or self._some_can_start(queues)

    def _some_can_start(self, queues: Collection[str]) -> bool:
        """Whether a job in these queues waits for others that can still end as it wants."""
        waiting = [each.jobs for each in self.store.waits.by_queue() if not queues or each.queue in queues]
        if not waiting:
            return False
        from queuectl.application.waiting import stuck

        ids = stuck(self.store)
        rows = filter(None, map(self.store.tables.job, ids)) if queues else ()
        return sum(waiting) > (sum(row["queue"] in queues for row in rows) if queues else len(ids))

    def load(self, job_id: str) -> Job:
        """The job as it is now, also a purged one. Raises NoSuchJobError, DamagedEventError."""
        job = self.store.log.load(job_id)
        if job is None:
            raise NoSuchJobError.of(job_id)
        return job

    def if_ended(self, job_id: str) -> Job | None:
        """The job if it has ended or was purged, else None. Raises NoSuchJobError, DamagedEventError."""
        job = self.load(job_id)
        return job if job.state in (*FINISHED, State.PURGED) else None


def _key(command: c.Command, job: Job | None) -> str | None:
    """The unique key that a command takes, if any."""
    if isinstance(command, c.Enqueue):
        return command.spec.unique
    return job.spec.unique if job is not None and isinstance(command, c.Requeue) else None


def _refuse_another(job: NewJob, job_id: str, change: Change) -> None:
    """Raises RefusedError if a batch has two different jobs with the same id."""
    if change.events != [job.spec]:
        raise RefusedError(_at_line(job, f"the id {job_id} is given twice, to different jobs"))


def _at_line(job: NewJob, message: str) -> str:
    if job.line is None:
        return f"job {job.spec.seq} of the batch: {message}" if job.spec.seq else message
    return f"line {job.line}: {message}"
