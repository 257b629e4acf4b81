"""A worker's name: one worker has it at a time, wherever it runs, and takes it before it starts.

Signs of life and requests to stop go by the name. A worker elsewhere cannot be seen, and its clock is not ours: that it
lives is told by a new sign of life, that it is gone by none for a while. Its jobs are not the name's: they are freed
when their leases are over, by whoever looks.

The name of a worker that died is kept by its supervisor until the next one takes it over: so that this one too is
listed, and can be asked to stop before it is there.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count

from msgspec.structs import replace

from queuectl.application.liveness import is_alive
from queuectl.application.queue import Queue
from queuectl.errors import RefusedError
from queuectl.process import procfs as process
from queuectl.process.protocol import same_process
from queuectl.runtime import Clock, boot_id
from queuectl.store.protocol import Store, WorkerRow

__all__ = ["Name", "default_name", "keep", "this_process"]

AT_LEAST = 15_000_000
"""Microseconds of silence before a name is another's to take: any worker that lives beats more often."""


@dataclass(slots=True)
class Name:
    """The name that `row` wants. `alive` tells whether a worker lives, `lease` (microseconds) is our own.

    `parent` is the pid of the process that started us, which may keep the name for us.
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
        """Make it ours if it can be; if not, ask again soon. Raises RefusedError when a worker that lives has it."""
        with self.store.writer.transaction():
            other, asked = _holder(self.store, self.row.name), 0
            if other is not None:
                if _is_here(other, self.parent, self.row):
                    asked = other.stop_requested  # of whoever comes next, which is us
                elif not self._is_gone(other):
                    return False
                Queue(self.store, self.row.name).lose_worker(other)  # and what was asked of it
            return self.store.workers.beat(replace(self.row, beat_at=self.clock.monotonic(), stop_requested=asked))

    def _is_gone(self, other: WorkerRow) -> bool:
        seen = self.alive(self.store, other)
        first, self.other = self.other, other
        if seen or (first and (first.beat_at != other.beat_at or not same_process(first, other))):
            where = f"pid {other.pid} on {other.host}"
            raise RefusedError(f"a worker named {other.name} is running ({where}): choose another --name")
        if first is None:
            self._since = self.clock.monotonic()
        return seen is False or self.clock.monotonic() - self._since > max(self.lease, AT_LEAST)


def keep(store: Store, row: WorkerRow, died: int) -> bool:
    """Keep the name of a worker that died, `row` being us, who will start the next; False once it was asked to stop.

    `died` is its pid, a child of ours. What was asked of it before it died counts too. Whoever else has the name keeps
    it: the next worker is told so when it wants it.
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


def _holder(store: Store, name: str) -> WorkerRow | None:
    return next((row for row in store.workers.rows() if row.name == name), None)


def _is_here(row: WorkerRow, pid: int, us: WorkerRow) -> bool:
    """Whether a row is that of a process next to us, whose pid is known for sure: a parent's, or a child's."""
    return (row.boot_id, row.pid_namespace, row.pid) == (us.boot_id, us.pid_namespace, pid)


def this_process(name: str, clock: Clock, slots: int = 0, queues: tuple[str, ...] = ()) -> WorkerRow:
    """This process by a worker's name. One without slots runs nothing: it keeps the name for another."""
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
    """The machine and the process, which containers may have alike: with a number behind it when it is taken."""
    name = f"{os.uname().nodename}-{os.getpid()}"
    return next(each for each in chain([name], (f"{name}-{number}" for number in count(2))) if not is_taken(each))
