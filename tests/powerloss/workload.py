"""A short random workload of a queue from a seed: commands on one connection, a worker on another.

Half of the jobs wait for others, some batches have a limit of failures, and people edit what jobs wait for: so an event
has consequences in the same transaction.
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from random import Random
from typing import Any
from unittest.mock import patch

from msgspec import Struct
from msgspec.structs import replace

from queuectl.application.dependencies import resolved
from queuectl.application.editing import Edit, Editor
from queuectl.application.job_json import JobInput
from queuectl.application.queue import NewJob, Queue
from queuectl.config import Config
from queuectl.domain import commands as c
from queuectl.domain import events as e
from queuectl.domain.dependencies import BATCH, JOB
from queuectl.domain.events import After
from queuectl.domain.job import Job
from queuectl.domain.machine import FINISHED, State
from queuectl.errors import RefusedError, StoreError, UsageError
from queuectl.store import open_store
from queuectl.store.archive import archive
from queuectl.store.options import StoreOptions
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter
from queuectl.store.sql.engine import LockedLog
from queuectl.store.sqlite import connection
from queuectl.store.sqlite.engine import SqliteEngine
from tests.powerloss.disk import Step
from tests.powerloss.recording import Recorder, recording
from tests.powerloss.trouble import NowAndThen, Trouble
from tests.support.builders import SECOND, SettableClock, a_spec, a_worker, claimant
from tests.support.queues import WARNING

OPERATIONS = 60
SEGMENTS = (6_000, 20_000, 1_000_000)
"""Bytes in a segment of the archive: several are sealed, or none."""
PAGES = (8, 25, 60, 200)
"""Pages in the -wal before a checkpoint: from one at every commit to hardly any."""
PATIENCE = 200
"""Refusals after which nobody waits any more for the disk to be well."""
ENDINGS = ("ok", "end", "failed")
TROUBLE = (0.0, 0.0, 0.002, 0.006, 0.015)
"""How likely an operation of the disk fails: in two lives of five never."""


class Recording(Struct, frozen=True):
    """All changes to the files of the queue at `path`, and the digests of the resulting log.

    The steps before `begin` create the files that existed already. `failed` counts failed operations of the disk.
    `attempted` also has the digests of events whose commit failed. `acknowledged` has the digest of each acknowledged
    head, `refusals` the errors.
    """

    path: str
    steps: list[Step]
    begin: int
    digests: list[bytes]
    attempted: set[bytes]
    failed: int
    acknowledged: dict[int, bytes]
    refusals: list[StoreError]


def record(
    folder: str, seed: int, durability: str = "safe", operations: int = OPERATIONS, trouble: Trouble | None = None
) -> Recording:
    """Run one workload in a folder that is empty or has a queue."""
    rng = Random(seed)
    path = os.path.join(folder, "queue.db")
    trouble = trouble or _some_trouble(Random(f"trouble of {seed}"))
    with _small(rng.choice(PAGES), rng.choice(SEGMENTS)), recording(trouble) as recorder, _noted() as attempted:
        recorder.adopt(folder)
        begin = len(recorder.steps)
        life = _Life(path, rng, recorder, durability, Random(f"graph of {seed}"))
        life.live(operations)
        recorder.all_is_well()
        life.enqueue()
        digests = [row.digest for row in life.people.store.log.stored()]
        life.end()
    return Recording(path, recorder.steps, begin, digests, attempted, trouble.met, life.acknowledged, life.refusals)


def _some_trouble(rng: Random) -> Trouble:
    return NowAndThen(rng, rng.choice(TROUBLE))


def begin_unsynced(engine: SqliteEngine, durable: bool) -> LockedLog:
    """Begin a transaction without any sync: a defect for the controls."""
    engine.run("PRAGMA synchronous=OFF")
    engine.run("BEGIN IMMEDIATE")
    return engine._locked_log()


@contextmanager
def _small(pages: int, segment: int) -> Iterator[None]:
    with patch.object(connection, "CHECKPOINT_AFTER", pages), patch.object(archive, "SEAL_AT", segment):
        yield


@contextmanager
def _noted() -> Iterator[set[bytes]]:
    """Collect the digest of every event that is inserted meanwhile, committed or not."""
    noted: set[bytes] = set()
    insert = SqliteEngine.insert

    def insert_noted(engine: SqliteEngine, sql: str, rows: Sequence[Any]) -> None:
        if sql.startswith("INSERT INTO events"):
            noted.update(row.digest for row in rows)
        insert(engine, sql, rows)

    with patch.object(SqliteEngine, "insert", insert_noted):
        yield noted


class _Life:
    def __init__(self, path: str, rng: Random, recorder: Recorder, durability: str, graph: Random) -> None:
        self._path, self._rng, self._recorder, self._graph = path, rng, recorder, graph
        self._options = StoreOptions(durability=durability, warn=WARNING.warn)
        self._clock = SettableClock()
        self._running: dict[str, Job] = {}
        self.acknowledged: dict[int, bytes] = {}
        self.refusals: list[StoreError] = []
        self._name, self._made = rng.randrange(1_000_000), 0
        self.people, self.worker = Queue(self._open(), "ann@box"), Queue(self._open(), "w1")

    def _open(self) -> Store:
        """Open the queue, with retries; after many of them the disk's trouble ends.

        Raises StoreError when the queue is refused as often again on a disk without trouble: it is damaged for good.
        """
        while True:
            try:
                return open_store(self._path, self._clock, self._options)
            except StoreError as error:
                self.refusals.append(error)
                if len(self.refusals) > 2 * PATIENCE:
                    raise
            if len(self.refusals) > PATIENCE:
                self._recorder.all_is_well()

    def live(self, operations: int) -> None:
        actions: dict[Callable[[], object], int] = {
            self._enqueue: 8,
            self._enqueue_many: 3,
            self._claim: 12,
            self._report: 12,
            self._cancel: 3,
            self._requeue: 3,
            self._purge: 3,
            self._set: 2,
            self._pause: 1,
            self._beat: 3,
            self._reopen: 4,
            self._ask_for_the_head: 2,
        }
        for _ in range(operations):
            self._clock.advance(self._rng.randrange(3 * SECOND))
            [action] = self._rng.choices([*actions], [*actions.values()])
            if self._graph.random() < 0.2:
                action = self._graph.choice((self._edit, self._edit, self._unblock))
            with redirect_stderr(io.StringIO()):
                try:
                    self._do(action)
                except StoreError as error:
                    self.refusals.append(error)

    def _do(self, action: Callable[[], object]) -> None:
        """Run an action. Opening may find a change whose sync failed, which only its writer knows."""
        before = self.people.store.log.head().position
        action()
        head = self.people.store.log.head()
        if head.position > before and action not in (self._claim, self._reopen):
            self._recorder.acknowledged(head.position)
            self.acknowledged[head.position] = head.digest

    def enqueue(self) -> None:
        """A change that must succeed now that the disk works again; it also syncs earlier claims.

        It may fail at first: a connection that has not seen the failed sync yet sees it now.
        """
        for _ in range(PATIENCE):
            try:
                with redirect_stderr(io.StringIO()):
                    return self._do(lambda: self.people.enqueue([NewJob(a_spec(), f"job-{self._name}-last")]))
            except StoreError as error:
                self.refusals.append(error)
        raise self.refusals[-1]

    def end(self) -> None:
        self.people.store.close()
        self.worker.store.close()

    # ── people ──────────────────────────────────────────────────────────────────────────────────────

    def _enqueue(self) -> None:
        self.people.enqueue(self._with_dependencies([self._new_job()]))

    def _enqueue_many(self) -> None:
        jobs = [self._new_job() for _ in range(self._rng.randint(2, 12))]
        opening = None
        if self._graph.random() < 0.3:
            jobs = [NewJob(replace(job.spec, batch=f"batch-{self._made % 3}"), job.id) for job in jobs]
            opening = e.BatchOpened(jobs=0, max_failures=1)
        self.people.enqueue(self._with_dependencies(jobs), opening)

    def _with_dependencies(self, jobs: list[NewJob]) -> list[NewJob]:
        """Half of these jobs wait, as far as that makes no cycle."""
        waiting = []
        for job in jobs:
            after = tuple(After(name, self._graph.choice(ENDINGS), kind) for kind, name in self._causes())
            unmet = {"if_unmet": self._graph.choice(("hold", "cancel"))} if after else {}
            half = self._graph.random() < 0.5
            waiting.append(NewJob(replace(job.spec, after=after, **unmet), job.id) if half else job)
        try:
            return resolved(self.people, waiting)
        except UsageError:
            return jobs

    def _causes(self) -> list[tuple[str, str]]:
        """The possible dependencies of a job."""
        ids = self.people.store.tables.ids(JobFilter(limit=0))[-8:]
        found = [(JOB, name) for name in self._graph.sample(ids, min(len(ids), self._graph.randint(0, 2)))]
        batches = sorted({str(each.batch) for each in self.people.store.batches.all()})
        return [*found, *((BATCH, name) for name in batches if self._graph.random() < 0.2)]

    def _edit(self) -> None:
        """Change what a pending job waits for, and its priority."""
        wanted = JobInput(
            after=tuple(f"{'batch:' if kind == BATCH else ''}{name}:end" for kind, name in self._causes()),
            priority=self._graph.randrange(2),
        )
        with suppress(UsageError):
            for job_id in self._some(State.PENDING)[:1]:
                Editor(self.people, Config({}, {}, {}, dict)).edit([job_id], Edit(wanted), "another plan")

    def _unblock(self) -> None:
        waiting = self.people.store.tables.ids(JobFilter(states=(State.PENDING,), dependent=True, limit=0))
        with suppress(RefusedError):  # it was freed
            self.people.unblock(self._graph.sample(waiting, min(1, len(waiting))), "now")

    def _new_job(self) -> NewJob:
        self._made += 1
        spec = a_spec(
            "true " * self._rng.choice((1, 1, 1, 30, 700)),
            priority=self._rng.randrange(2),
            max_retries=self._rng.randrange(2),
            unique=self._rng.choice((None, None, f"key-{self._made % 5}")),
        )
        return NewJob(spec, f"job-{self._name}-{self._made}")

    def _some(self, *states: State) -> list[str]:
        ids = [row["id"] for row in self.people.store.tables.jobs(JobFilter(states=states, limit=0))]
        return self._rng.sample(ids, min(len(ids), self._rng.randint(1, 3)))

    def _cancel(self) -> None:
        self.people.cancel(self._some(State.PENDING, State.PROCESSING), "not needed")

    def _requeue(self) -> None:
        for job_id in self._some(*FINISHED):
            job = self.people.store.log.load(job_id)
            if job and not (job.spec.unique and self.people.store.tables.holder(job.spec.unique)):
                with suppress(RefusedError):  # it would wait for itself
                    self.people.requeue([job_id])

    def _purge(self) -> None:
        self.people.purge(self._some(*FINISHED))

    def _set(self) -> None:
        self.people.change_setting("lease", self._rng.choice((None, "1m", "2m")))

    def _pause(self) -> None:
        if not self.people.pause("mail"):
            self.people.resume("mail")

    def _reopen(self) -> None:
        """Open the queue again, as the next command does; sometimes no other process has it open meanwhile."""
        self.people.store.close()
        if self._rng.random() < 0.3:
            self.worker.store.close()
            self.worker = Queue(self._open(), "w1")
        self.people = Queue(self._open(), "ann@box")

    def _ask_for_the_head(self) -> None:
        self._recorder.acknowledged(self.people.store.writer.bring_to_disk())

    # ── the worker ──────────────────────────────────────────────────────────────────────────────────

    def _claim(self) -> None:
        jobs = self.worker.claim(claimant(), (), self._rng.randint(1, 3), lambda job: True)
        self._running |= {job.id: job for job in jobs}

    def _report(self) -> None:
        """Record the results of some runs in one transaction, as a worker does."""
        known = {job_id: self._running.pop(job_id) for job_id in [*self._running][: self._rng.randint(1, 4)]}
        self.worker.execute([self._result(job) for job in known.values()], known)

    def _result(self, job: Job) -> c.Command:
        ending = self._rng.randrange(5)
        if ending == 0:
            return c.Release(job.id, job.run, "the worker stops")
        output = "x" * self._rng.choice((0, 40, 4000))
        return c.Report(job.id, job.run, c.Exit(e.Exited(1) if ending == 1 else None, SECOND, output))

    def _beat(self) -> None:
        self.worker.store.workers.beat(a_worker())
