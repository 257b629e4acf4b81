"""The oracle's own test: each rule of the queue is broken once, and some seed must show it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from queuectl.application import Queue
from queuectl.domain import backoff, commands
from queuectl.errors import StoreBusyError
from queuectl.reclaimer import Reclaimer
from queuectl.runtime import LogClock
from queuectl.store.projecting import ProjectedTables
from queuectl.store.sqlite import SqliteStore
from queuectl.worker import Worker
from tests.simulation.invariants import InvariantError
from tests.simulation.simulation import Simulation
from tests.simulation.world import SECOND, SimulatedCommands

WITHIN = 60
DAY = 86_400 * SECOND

Patch = Callable[..., None]


def no_fence(patch: Patch) -> None:
    patch(commands, "_stale", lambda job, run: False)


def no_lock(patch: Patch) -> None:
    def reserve(self: SimulatedCommands, job: Any) -> bool:
        self.world.locks[job.id] = self.me.pid
        return True

    patch(SimulatedCommands, "reserve", reserve)


def everyone_dead(patch: Patch) -> None:
    patch(SimulatedCommands, "alive", lambda self, who: False)


def too_early(patch: Patch) -> None:
    claimable, claim = SqliteStore.claimable, commands._claim
    patch(SqliteStore, "claimable", lambda self, q, limit, now, skip=(): claimable(self, q, limit, now + DAY, skip))
    patch(commands, "_RULES", {**commands._RULES, commands.Claim: lambda c, job, now: claim(c, job, now + DAY)})


def attempts_forgotten(patch: Patch) -> None:
    failed = commands._failed
    patch(commands, "_failed", lambda job, command, cause: failed(replace(job, attempts=0), command, cause))


def never_reclaimed(patch: Patch) -> None:
    patch(Reclaimer, "_is_lost", lambda *whatever: False)


def freed_alive(patch: Patch) -> None:
    patch(SimulatedCommands, "clear", lambda self, job: True)


def busy_store_loses_results(patch: Patch) -> None:
    execute = Queue.execute

    def lossy(self: Queue, wanted: Any, known: Any = None) -> Any:
        try:
            return execute(self, wanted, known)
        except StoreBusyError:
            return [None for _ in wanted]

    patch(Queue, "execute", lossy)


def pause_ignored(patch: Patch) -> None:
    claimable = SqliteStore.claimable

    def unpaused(self: SqliteStore, *asked: Any) -> list[str]:
        self._run("CREATE TEMP TABLE kept AS SELECT * FROM pauses")
        self._run("DELETE FROM pauses")
        found = claimable(self, *asked)
        self._run("INSERT INTO pauses SELECT * FROM kept")
        self._run("DROP TABLE kept")
        return found

    patch(SqliteStore, "claimable", unpaused)


def counts_drift(patch: Patch) -> None:
    add = ProjectedTables._add_counts
    patch(ProjectedTables, "_add_counts", lambda self, counts: add(self, type(counts)(list(counts)[:1])))


def rows_not_updated(patch: Patch) -> None:
    patch(ProjectedTables, "_update", lambda self, table, old, new: None)


def no_wait(patch: Patch) -> None:
    patch(backoff, "wait", lambda *whatever: 0)


def no_timeouts(patch: Patch) -> None:
    start = Worker._start

    def endless(self: Worker, job: Any, *more: Any) -> None:
        start(self, job, *more)
        if slot := self.slots.get(job.id):
            slot.deadline = None

    patch(Worker, "_start", endless)


def first_stop_ends(patch: Patch) -> None:
    stop = Worker.stop

    def twice(self: Worker) -> None:
        stop(self)
        stop(self)

    patch(Worker, "stop", twice)


def last_come_first_served(patch: Patch) -> None:
    claimable = SqliteStore.claimable
    patch(SqliteStore, "claimable", lambda self, *asked: claimable(self, *asked)[::-1])


def time_goes_back(patch: Patch) -> None:
    patch(LogClock, "now", lambda self, last_recorded: self._clock.now())


MUTANTS = {
    no_fence: r"by run \d+, but run \d+ is current",
    no_lock: r"starts while run .* lives",
    everyone_dead: r"is said to be lost",
    too_early: r"before it is due",
    attempts_forgotten: r"retry \d+ of|waits \d+ us, not",
    never_reclaimed: r"in processing without a worker",
    freed_alive: r"its command runs on|freed while its processes live",
    busy_store_loses_results: r"is said to be lost",
    pause_ignored: r"its queue is paused",
    counts_drift: r"the counts are",
    rows_not_updated: r"its row is",
    no_wait: r"waits 0 us, not",
    no_timeouts: r"still have not ended",
    first_stop_ends: r"which was not told to",
    last_come_first_served: r"is claimed before",
    time_goes_back: r"older than the one before",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_noticed(mutant: Callable[[Patch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch.setattr)
    with pytest.raises(InvariantError, match=MUTANTS[mutant]):
        run_until_noticed(MUTANTS[mutant])


def run_until_noticed(expected: str) -> None:
    """Only the complaint that is expected counts: a mutant may do other harm first."""
    for seed in range(WITHIN):
        try:
            Simulation(seed).run_all()
        except InvariantError as error:
            if re.search(expected, str(error)):
                raise
