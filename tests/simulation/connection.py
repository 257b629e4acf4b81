"""One store, usually SQLite in memory, shared by all simulated processes; each has a `Connection` to it.

`visit` is called at each point where a process could meet a locked store, die, or be suspended while others run.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from queuectl.domain.events import type_of
from queuectl.domain.job import Job
from queuectl.runtime import Clock, LogClock
from queuectl.store.protocol import Store
from queuectl.store.rows import Change, WorkerRow
from queuectl.store.sql.writer import WAKING
from tests.support.overriding import Overriding

__all__ = ["COMMIT", "COMMITTED", "Connection", "Shared"]

COMMIT = "commit"
"""The point at which a change is about to be in the store, or not at all."""

COMMITTED = "committed"
"""The point at which a change is in the store, but its writer does not know it yet."""

READS = frozenset({"load", "claimable", "next_due", "holder", "processing", "rows", "asked", "pauses"})


class Shared:
    """The shared store. `locked`: a process is inside a transaction, so all others must wait."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.locked = False
        self.commits = 0
        self.beats: dict[str, int] = {}
        self.forgotten: set[str] = set()
        self.wake: Callable[[], None] = lambda: None


class Connection(Overriding):
    """One process's view of the store; members that it does not define are the shared store's."""

    def __init__(self, shared: Shared, visit: Callable[[str], None] = lambda point: None) -> None:
        super().__init__(shared.store)
        self._shared, self._visit, self._clock = shared, visit, LogClock(shared.clock)
        self._mine = self._seen = 0

    def asked_for(self, name: str) -> None:
        if name in READS:
            self._visit(name)

    @contextmanager
    def transaction(self, *, durable: bool = True, meanwhile: Callable[[], None] | None = None) -> Iterator[None]:
        if self._shared.locked:
            yield
            return
        self._visit("begin")
        with self._store.writer.transaction(durable=durable):
            self._shared.locked = True
            try:
                yield
                self._visit(COMMIT)
                if meanwhile is not None:
                    meanwhile()
            finally:
                self._shared.locked = False
        self._shared.commits += 1
        self._mine += 1
        self._visit(COMMITTED)

    def append(self, changes: Sequence[Change], actor: str) -> list[Job | None]:
        with self.transaction():
            jobs = self._store.writer.append(changes, actor)
        if any(type_of(event) in WAKING for change in changes for event in change.events):
            self._shared.wake()
        return jobs

    def beat(self, worker: WorkerRow) -> bool:
        with self.transaction(durable=False):
            mine = self._store.workers.beat(worker)
        if mine:
            self._shared.beats[worker.name] = worker.beat_at
            self._shared.forgotten.discard(worker.name)
        return mine

    def forget(self, worker: WorkerRow) -> bool:
        with self.transaction(durable=False):
            found = self._store.workers.forget(worker)
        self._shared.forgotten.add(worker.name)
        return found

    def ask_to_stop(self, worker: str, level: int = 1) -> bool:
        with self.transaction(durable=False):
            return self._store.workers.ask_to_stop(worker, level)

    def behind_for(self) -> int | None:
        """Each process measures by itself for how long it has seen the clock behind the log."""
        return self._clock.behind_for(self._store.log.head().recorded_at)

    def changed(self) -> bool:
        """Whether another process has committed. The shared store has one connection and cannot tell."""
        foreign = self._shared.commits - self._mine
        seen, self._seen = self._seen, foreign
        return seen != foreign
