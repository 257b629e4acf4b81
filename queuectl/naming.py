"""A worker's name: one worker has it at a time, wherever it runs, and takes it before it starts.

Signs of life and requests to stop go by the name. A worker elsewhere cannot be seen, and its clock is not ours: that it
lives is told by a new sign of life, that it is gone by none for a while. Its jobs are not the name's: they are freed
when their leases are over, by whoever looks.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count

from msgspec.structs import replace

from queuectl.errors import RefusedError
from queuectl.runtime import Clock
from queuectl.spawning import Identity, same_process
from queuectl.store.base import EventStore, WorkerRow

__all__ = ["Name", "default_name"]

AT_LEAST = 15_000_000
"""Microseconds of silence before a name is another's to take: any worker that lives beats more often."""


@dataclass(slots=True)
class Name:
    """The name that `row` wants. `alive` says what is seen of a process, `lease` (microseconds) is our own."""

    store: EventStore
    clock: Clock
    row: WorkerRow
    lease: int
    alive: Callable[[Identity, bool], bool | None]
    other: WorkerRow | None = None
    _since: int = 0

    def take(self) -> bool:
        """Make it ours if it can be; if not, ask again soon. Raises RefusedError when a worker that lives has it."""
        with self.store.transaction(durable=False):
            other = next((row for row in self.store.workers() if row.name == self.row.name), None)
            if other is not None:
                if not self._is_gone(other):
                    return False
                self.store.forget(other)  # with what was asked of it
            return self.store.beat(replace(self.row, beat_at=self.clock.monotonic()))

    def _is_gone(self, other: WorkerRow) -> bool:
        seen = self.alive(other, self.store.spans_hosts)
        first, self.other = self.other, other
        if seen or (first and (first.beat_at != other.beat_at or not same_process(first, other))):
            where = f"pid {other.pid} on {other.host}"
            raise RefusedError(f"a worker named {other.name} is running ({where}): choose another --name")
        if first is None:
            self._since = self.clock.monotonic()
        return seen is False or self.clock.monotonic() - self._since > max(self.lease, AT_LEAST)


def default_name(is_taken: Callable[[str], bool]) -> str:
    """The machine and the process, which containers may have alike: with a number behind it when it is taken."""
    name = f"{os.uname().nodename}-{os.getpid()}"
    return next(each for each in chain([name], (f"{name}-{number}" for number in count(2))) if not is_taken(each))
