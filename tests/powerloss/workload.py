"""A short random workload of a queue from a seed: commands on one connection, a worker on another."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from random import Random
from typing import Any
from unittest.mock import patch

from msgspec import Struct

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import commands as c
from queuectl.domain import events as e
from queuectl.domain.job import Job
from queuectl.domain.machine import FINISHED, State
from queuectl.errors import StoreError
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
        life = _Life(path, rng, recorder, durability)
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
    def __init__(self, path: str, rng: Random, recorder: Recorder, durability: str) -> None:
        self._path, self._rng, self._recorder = path, rng, recorder
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
        self.people.enqueue([self._new_job()])

    def _enqueue_many(self) -> None:
        self.people.enqueue([self._new_job() for _ in range(self._rng.randint(2, 12))])

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
