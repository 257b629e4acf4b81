"""`rebuild` and `verify` of a whole queue, compared with reading and decoding the same events and nothing else.

The yardstick reads all columns of every event with apsw on one core, in the order of the log, and decodes `data` with
one msgspec decoder of the union of all event types. It checks no digest, folds nothing and compares nothing. Rates are
events for a second of the clock, best of several rounds, so the machine should have nothing else to do; the archive is
off. The estimates are Amdahl's, in processor time: that of the first process is not shared, that of its children is.
"""

import resource
import sys
import time
from collections.abc import Callable
from functools import partial, reduce
from operator import or_
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import builder, queue
from benchmarks.plan import Plan, folder, in_turn
from benchmarks.process import output
from benchmarks.result import Result, at_least, at_most

if TYPE_CHECKING:
    from queuectl.store.protocol import Store
    from queuectl.store.ranges import Shares

EVENTS_OF_A_JOB = 3  # enqueued, claimed, completed
PROCESSES = 2
MORE = (4, 8)
TARGETS = {"rebuild": 0.25, "verify": 0.2}


class Spent(NamedTuple):
    """Seconds of the clock, and of processor time of this process and of its children."""

    clock: float
    first: float
    children: float


def measure(plan: Plan) -> list[Result]:
    """Every side reads the same queue, whose tables are right; the best of several rounds counts."""
    results, memory = [], []
    for jobs in (plan.size(33_334, 100), plan.size(333_334, 300)):
        with folder("checking") as home:
            db = f"{home}/queue.db"
            builder.done_jobs(db, jobs)
            results += _rates(db, jobs * EVENTS_OF_A_JOB, plan.rounds(5))
            memory.append(_memory(db))
    case = "memory of the largest process of `verify --jobs 2`, ten times as many events"
    return [*results, Result(case, "MiB", memory[1:], "as many as first", memory[:1], at_most(1.1))]


def _rates(db: str, events: int, rounds: int) -> list[Result]:
    sides = {"reading": partial(_read, db)}
    for name in TARGETS:
        for processes in (1, PROCESSES):
            sides[f"{name} {processes}"] = partial(_check, name, db, processes)
    spent: dict[str, list[Spent]] = {name: [] for name in sides}

    def side(name: str) -> float:
        spent[name].append(sides[name]())
        return spent[name][-1].clock

    in_turn({name: partial(side, name) for name in sides}, rounds)
    return [result for name in TARGETS for result in _results(name, events, spent)]


def _results(name: str, events: int, spent: dict[str, list[Spent]]) -> list[Result]:
    """By one process and by two as measured by the clock; by two and more as estimated from processor time."""
    case, reading, target = f"{name} of {events:,} events", spent["reading"], at_least(TARGETS[name])
    by_clock = [events / min(each.clock for each in reading)]
    by_processor = [events / min(each.first for each in reading)]
    results = [
        Result(
            f"{case}, {processes} process{'es' if processes > 1 else ''}",
            "events/s",
            [events / min(each.clock for each in spent[f"{name} {processes}"])],
            "reading and decoding",
            by_clock,
            target if processes > 1 else None,
        )
        for processes in (1, PROCESSES)
    ]
    first, children = (min(each) for each in list(zip(*spent[f"{name} {PROCESSES}"], strict=True))[1:])
    for processes in (PROCESSES, *MORE):
        rate = events / (first + children / processes)
        what = f"{case}, {processes} processes, estimated"
        results.append(Result(what, "events/s", [rate], "reading and decoding", by_processor))
    return results


def _read(db: str) -> Spent:
    import apsw
    import msgspec

    from queuectl.domain.events import EVENT_TYPES

    decode = msgspec.json.Decoder(reduce(or_, EVENT_TYPES)).decode
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    data = [column[1] for column in connection.execute("PRAGMA table_info(events)")].index("data")

    def read() -> None:
        for row in connection.execute("SELECT * FROM events ORDER BY position"):
            decode(row[data])

    spent = _timed(read)
    connection.close()
    return spent


def _check(name: str, db: str, processes: int) -> Spent:
    from queuectl.runtime import SystemClock
    from queuectl.store import StoreOptions, open_store
    from queuectl.store.ranges import Shares

    checks = {"rebuild": _rebuild, "verify": _verify}
    store = open_store(db, SystemClock(), StoreOptions(archived=False))
    shares = Shares(db, StoreOptions().busy_timeout, processes, small=0)
    try:
        return _timed(lambda: checks[name](store, shares))
    finally:
        store.close()


def _rebuild(store: "Store", shares: "Shares") -> None:
    from queuectl.maintenance.rebuild import rebuild

    rebuild(store, lambda done: None, shares)


def _verify(store: "Store", shares: "Shares") -> None:
    from queuectl.checks.verify import verify

    verify(store, shares=shares)


def _timed(action: Callable[[], object]) -> Spent:
    clock, first, children = time.monotonic(), time.process_time(), _of_children()
    action()
    return Spent(time.monotonic() - clock, time.process_time() - first, _of_children() - children)


def _of_children() -> float:
    """Seconds of processor time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory(db: str) -> float:
    """MiB that the largest of the processes was resident with.

    A small process starts and measures them: on Linux a program's peak begins at that of the process that starts it.
    """
    argv = queue.command(db, "verify", "--jobs", "2", "--json")
    return float(output([sys.executable, "-c", _PEAK, *argv], limit=600)) / 1024


_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
