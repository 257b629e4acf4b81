"""Runs one worker in this process: takes a name, builds the worker, and runs its rounds until it is stopped.

Every step that uses the store is repeated until the store is free: a worker never exits because the store is locked.
"""

import logging
import os
import resource
import sys
from collections.abc import Callable, Collection
from dataclasses import replace as replace_option
from functools import partial
from typing import TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from queuectl.application.job_fields import check_worker
from queuectl.application.own_job import own_workers
from queuectl.application.queue import Queue
from queuectl.application.queue_url import QueueUrl
from queuectl.domain.machine import State
from queuectl.errors import RefusedError, StoreBusyError, UsageError
from queuectl.process.job_lock import check_lock_file
from queuectl.process.runner import Runner, make_folder
from queuectl.process.time_slice import take_short_slices
from queuectl.runtime import Clock, pause, random_factor
from queuectl.store.protocol import Store
from queuectl.store.rows import WorkerRow
from queuectl.units import SECOND
from queuectl.worker.ahead import AT_MOST
from queuectl.worker.loop import Worker
from queuectl.worker.options import WorkerOptions
from queuectl.worker.registration import Name, default_name, this_process
from queuectl.worker.stop_signals import StopSignals
from queuectl.worker.wakeup import Wakeup

__all__ = ["WAIT_FOR_STORE", "Foreground", "check_open_files", "check_writable", "patiently"]

T = TypeVar("T")
Sleep: TypeAlias = Callable[[float], None]

DESCRIPTORS, SPARE = 3, 64
"""Open files that each running job needs in its worker, and those that the worker itself needs.

A job that is claimed ahead needs one for its lock. The worker claims only as many ahead as its limit leaves room for.
"""
RETRY = 0.05
"""Seconds between two attempts on a busy store."""
CHECK_NAME_EVERY = 0.5
"""Seconds between two attempts to take a name that another worker has."""
WAIT_FOR_STORE = SECOND // 4
"""Microseconds that a worker waits for a locked store before it checks its running jobs again."""

log = logging.getLogger("queuectl.worker")


def check_open_files(slots: int) -> None:
    """Raises UsageError when this process may not open enough files for so many jobs at the same time."""
    if _files_left(slots) < 0:
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise UsageError(f"--concurrency {slots}: this process may open {allowed} files, too few: raise `ulimit -n`")


def _files_left(slots: int) -> int:
    """How many more files this process may open than it needs for these slots."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (sys.maxsize if allowed == resource.RLIM_INFINITY else allowed) - slots * DESCRIPTORS - SPARE


def check_writable(store: Store) -> None:
    """Make the folder for the jobs' output. Raises StoreError where no worker can run, as on a read-only disk.

    A supervisor could not tell this from a store that is away for a while, and would restart workers without end.
    """
    make_folder(store.location.output_folder)
    check_lock_file(store.location.output_folder)
    patiently(lambda: _begin(store))


def _begin(store: Store) -> None:
    with store.writer.transaction(durable=False):
        pass


def _sleep(seconds: float) -> None:
    pause(int(seconds * SECOND))


def patiently(step: Callable[[], T], sleep: Sleep = _sleep) -> T:
    """Repeat a step until the store is free. Raises what the step raises, except StoreBusyError."""
    while True:
        try:
            return step()
        except StoreBusyError:
            sleep(RETRY)


class _StoppedBeforeStartError(Exception):
    """The worker was asked to stop, or its supervisor died, while it still had no name."""


class Foreground(Struct):
    """The worker that runs in this process. Without `name` it takes a free one; `supervisor` is its supervisor's pid.

    `max_output` is the limit in bytes for each output stream of a run.
    """

    store: Store
    clock: Clock
    url: QueueUrl
    options: WorkerOptions
    max_output: int
    name: str | None = None
    supervisor: int | None = None
    _worker: Worker | None = None

    def run(self) -> None:
        """Run until the worker has stopped. Raises the error that made it fail."""
        location = self.store.location
        check_writable(self.store)
        hints = patiently(self.store.workers.hints)
        wakeup = Wakeup(location.wake_file, StopSignals(self.clock), self._stop, hints)
        try:
            worker = self._started(wakeup.sleep)
        except _StoppedBeforeStartError:
            log.info("Worker %s ended before it started", self.name or f"(pid {os.getpid()})")
            return
        try:
            self._work(worker, wakeup.sleep)
        except BaseException:
            worker.kill()
            raise
        if worker.failure is not None:
            raise worker.failure
        patiently(worker.finish, wakeup.sleep)

    def still_dead(self) -> list[str]:
        """The jobs that this worker ran and whose retries are used up, unless they were retried or purged since."""
        rows = map(self.store.tables.job, dict.fromkeys(self._worker.run_log.dead if self._worker else ()))
        return [row["id"] for row in rows if row is not None and row["state"] == State.DLQ]

    def _stop(self) -> None:
        if self._worker is None:
            raise _StoppedBeforeStartError
        self._worker.stop()

    def _started(self, sleep: Sleep) -> Worker:
        row = self._named(partial(self._sleep_supervised, sleep))
        environ, location = job_environ(self.url), self.store.location
        mine = (location.output_folder, self.store.log.log_id, row.name)
        runner = Runner(*mine, self.clock, self.max_output, environ, location.reach)
        options = replace_option(self.options, ahead=min(AT_MOST, _files_left(self.options.slots)))
        self._worker = worker = Worker(Queue(self.store, row.name), runner, self.clock, random_factor, row, options)
        patiently(worker.start, sleep)
        take_short_slices()
        _warn_root(row.name)
        for _ in range(patiently(lambda: self.store.workers.asked(row.name)[0], sleep)):  # asked before we started
            worker.stop()
        return worker

    def _work(self, worker: Worker, sleep: Sleep) -> None:
        self._look_at_supervisor(worker)  # it may have died since this worker got its name
        while (wait := worker.tick()) is not None:
            sleep(wait)
            self._look_at_supervisor(worker)

    def _look_at_supervisor(self, worker: Worker) -> None:
        if self._has_lost_supervisor():
            worker.lose_supervisor()

    def _sleep_supervised(self, sleep: Sleep, seconds: float) -> None:
        """Sleep while this worker waits for its name. It does not wait on when its supervisor is gone."""
        sleep(seconds)
        if self._has_lost_supervisor():
            raise _StoppedBeforeStartError

    def _has_lost_supervisor(self) -> bool:
        """Whether the supervisor is gone. That is logged, and said only once."""
        if self.supervisor is None or os.getppid() == self.supervisor:
            return False
        log.warning("The supervisor of this worker (pid %d) is gone", self.supervisor)
        self.supervisor = None
        return True

    def _named(self, sleep: Sleep) -> WorkerRow:
        """This worker's row, with a name that no other worker has."""
        row = this_process(self.name or "", self.clock, self.options.slots, tuple(sorted(self.options.queues)))
        while self.name is None:
            names = {each.name for each in patiently(self.store.workers.rows, sleep)}
            row = replace(row, name=check_worker(default_name(names.__contains__)))
            if patiently(Name(self.store, self.clock, row, self.options.lease).take, sleep):
                return row
        name = Name(self.store, self.clock, row, self.options.lease, parent=os.getppid())
        own = patiently(lambda: own_workers(Queue(self.store, row.name), os.environ), sleep)
        _wait_for(name, own, sleep)
        return row


def job_environ(url: QueueUrl) -> dict[str, str]:
    """The environment that jobs inherit: it names the queue, unless its URL has a password."""
    environ = {name: value for name, value in os.environ.items() if name != "QUEUECTL_DB"}
    if not url.is_on_server:
        environ["QUEUECTL_DB"] = url.file
    elif not url.has_password:
        environ["QUEUECTL_DB"] = url.text
    return environ


def _warn_root(name: str) -> None:
    if os.geteuid() == 0:
        log.warning("worker %s runs jobs as root: everyone who can write to the queue is root here (SECURITY.md)", name)


def _wait_for(name: Name, own: Collection[str], sleep: Sleep) -> None:
    """Wait until the name is free. Raises RefusedError if one of the workers `own`, whose job we are, has it."""
    said: set[str] = set()
    while not patiently(name.take, sleep):
        if name.row.name in own:
            raise RefusedError(f"worker {name.row.name} runs this command and ends after it: choose another --name")
        if name.other and (what := _why_it_waits(name.other)) not in said:
            said.add(what)
            log.warning("Worker %s: waiting for %s", name.row.name, what)
        sleep(CHECK_NAME_EVERY)


def _why_it_waits(other: WorkerRow) -> str:
    if other.stop_requested:
        return f"the worker of that name (pid {other.pid} on {other.host}), which is stopping"
    return f"a heartbeat of the worker of that name on {other.host}, or the end of its lease"
