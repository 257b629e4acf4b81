"""A worker's name. The worker takes it before it starts; no other worker on any host has it at the same time.

Heartbeats and requests to stop go by the name. We cannot inspect processes on other hosts or compare clocks: a new
heartbeat means alive, none for a lease means gone. The jobs of such a worker are freed separately, when their leases
expire.

A supervisor reserves the name of a dead worker until its replacement takes it, so that `worker list` shows the
replacement and `worker stop` can stop it before it has started.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from itertools import chain, count

from msgspec import Struct
from msgspec.structs import replace

from queuectl.application.liveness import is_alive
from queuectl.application.queue import Queue
from queuectl.errors import RefusedError, StoreError
from queuectl.process import procfs as process
from queuectl.process.protocol import same_process
from queuectl.runtime import Clock, boot_id
from queuectl.store.protocol import Store
from queuectl.store.rows import WorkerRow

__all__ = ["Name", "ReservedNames", "default_name", "keep", "this_process"]

AT_LEAST = 15_000_000
"""Microseconds without a heartbeat before another worker may take a name. Living workers write one more often."""


class Name(Struct):
    """The name that the worker `row` wants. `alive` tests whether a process lives; `lease` (microseconds) is ours.

    `parent` is the pid of the process that started us, which may have reserved the name for us. It may also be a worker
    whose job we are: that one keeps its name.
    """

    store: Store
    clock: Clock
    row: WorkerRow
    lease: int
    parent: int = 0
    alive: Callable[[Store, WorkerRow], bool | None] = is_alive
    other: WorkerRow | None = None
    _since: int = 0

    def take(self) -> bool:
        """Take the name. Returns False when the caller must try again: its worker is stopping, or may be gone.

        Raises RefusedError when a running worker has the name.
        """
        with self.store.writer.transaction():
            other, asked = _holder(self.store, self.row.name), 0
            if other is not None:
                if not other.slots and _is_here(other, self.parent, self.row):
                    asked = other.stop_requested  # meant for the next worker, which is us
                elif not self._is_gone(other):
                    return False
                Queue(self.store, self.row.name).lose_worker(other)
            return self.store.workers.beat(replace(self.row, beat_at=self.clock.monotonic(), stop_requested=asked))

    def _is_gone(self, other: WorkerRow) -> bool:
        seen = self.alive(self.store, other)
        first, self.other = self.other, other
        if seen or (first and (first.beat_at != other.beat_at or not same_process(first, other))):
            self._since = self.clock.monotonic()
            if other.stop_requested:
                return False  # it will end
            where = f"pid {other.pid} on {other.host}"
            raise RefusedError(f"a worker named {other.name} is running ({where}): choose another --name")
        if first is None:
            self._since = self.clock.monotonic()
        return seen is False or self.clock.monotonic() - self._since > max(self.lease, AT_LEAST)


def keep(store: Store, row: WorkerRow, died: int) -> bool:
    """Reserve a dead worker's name for its replacement. `row` is the supervisor's, `died` the dead worker's pid.

    Returns False when that worker was asked to stop, even if before it died. Leaves a name that another process took.
    """
    with store.writer.transaction():
        other = _holder(store, row.name)
        if other is not None and not same_process(other, row):
            ours = _is_here(other, died, row)
            if not ours and is_alive(store, other) is not False:
                return True
            Queue(store, row.name).lose_worker(other)
            other = other if ours else None
        if other is not None and other.stop_requested:
            store.workers.forget(other)
            return False
        return store.workers.beat(row)


class ReservedNames(Struct, frozen=True):
    """Implements `Names` of supervisor.py. It opens the queue for each call, because there are few calls.

    `opened` opens the queue for changes, `opened_to_read` for reading.
    """

    clock: Clock
    opened: Callable[[], AbstractContextManager[Queue]]
    opened_to_read: Callable[[], AbstractContextManager[Queue]]

    def keep(self, name: str, died: int) -> bool:
        with self.opened() as queue:
            return keep(queue.store, this_process(name, self.clock), died)

    def give_up(self, name: str) -> None:
        with self.opened() as queue:
            queue.store.workers.forget(this_process(name, self.clock))

    def moved(self) -> bool:
        """Whether the queue was migrated away; False also when the store cannot be read, because it may come back."""
        with suppress(StoreError), self.opened_to_read() as queue:
            return queue.store.location.moved_to is not None
        return False


def _holder(store: Store, name: str) -> WorkerRow | None:
    return next((row for row in store.workers.rows() if row.name == name), None)


def _is_here(row: WorkerRow, pid: int, us: WorkerRow) -> bool:
    """Whether a row is that of our parent or child `pid`, on this machine: no other process can have that pid now."""
    return (row.boot_id, row.pid_namespace, row.pid) == (us.boot_id, us.pid_namespace, pid)


def this_process(name: str, clock: Clock, slots: int = 0, queues: tuple[str, ...] = ()) -> WorkerRow:
    """This process as a worker's row. A row without slots only reserves the name for another process."""
    now = clock.now() // 1_000_000
    return WorkerRow(
        name=name,
        host=os.uname().nodename,
        boot_id=boot_id(),
        pid=os.getpid(),
        pid_namespace=process.pid_namespace(),
        pid_started_at=process.started_at(os.getpid()),
        slots=slots,
        queues=queues,
        started_at=now,
        last_heartbeat=now,
        beat_at=clock.monotonic(),
    )


def default_name(is_taken: Callable[[str], bool]) -> str:
    """`host-pid`, with a number when that is taken: two containers may have the same host name and pid."""
    name = f"{os.uname().nodename}-{os.getpid()}"
    return next(each for each in chain([name], (f"{name}-{number}" for number in count(2))) if not is_taken(each))
