"""`rebuild` and `verify` of a whole queue, compared with reading and decoding the same events and nothing else.

The yardstick reads all columns of every event with apsw, in the order of the log, and decodes `data` with one msgspec
decoder of the union of all event types. It checks no digest, folds nothing and compares nothing. Rates are events for
a second of processor time, so that what else runs on the machine counts less; the archive is off.
"""

import time
from collections.abc import Callable
from functools import partial, reduce
from operator import or_
from typing import TYPE_CHECKING

from benchmarks import builder
from benchmarks.plan import Plan, folder, in_turn
from benchmarks.result import Result, at_least

if TYPE_CHECKING:
    from queuectl.store.protocol import Store

EVENTS_OF_A_JOB = 3  # enqueued, claimed, completed


def measure(plan: Plan) -> list[Result]:
    """Every side reads the same queue, whose tables are right; the best of several rounds counts."""
    jobs = plan.size(67_000, 100)
    with folder("checking") as home:
        db = f"{home}/queue.db"
        builder.done_jobs(db, jobs)
        sides = {"reading": partial(_read, db), "rebuild": partial(_rebuild, db), "verify": partial(_verify, db)}
        samples = in_turn(sides, plan.rounds(5))
    events = jobs * EVENTS_OF_A_JOB
    rates = {name: [events / min(seconds)] for name, seconds in samples.items()}
    return [
        _result("rebuild", events, rates, 0.25),
        _result("verify", events, rates, 0.2),
    ]


def _result(name: str, events: int, rates: dict[str, list[float]], target: float) -> Result:
    case = f"{name} of {events:,} events"
    return Result(case, "events/s", rates[name], "reading and decoding", rates["reading"], at_least(target))


def _read(db: str) -> float:
    import apsw
    import msgspec

    from queuectl.domain.events import EVENT_TYPES

    decode = msgspec.json.Decoder(reduce(or_, EVENT_TYPES)).decode
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    data = [column[1] for column in connection.execute("PRAGMA table_info(events)")].index("data")

    def read() -> None:
        for row in connection.execute("SELECT * FROM events ORDER BY position"):
            decode(row[data])

    seconds = _timed(read)
    connection.close()
    return seconds


def _rebuild(db: str) -> float:
    return _opened(db, lambda store: store.upkeep.rebuild())


def _verify(db: str) -> float:
    from queuectl.checks.verify import verify

    return _opened(db, verify)


def _opened(db: str, check: "Callable[[Store], object]") -> float:
    from queuectl.runtime import SystemClock
    from queuectl.store import StoreOptions, open_store

    store = open_store(db, SystemClock(), StoreOptions(archived=False))
    try:
        return _timed(lambda: check(store))
    finally:
        store.close()


def _timed(action: Callable[[], object]) -> float:
    """Seconds of processor time, this process alone."""
    started = time.process_time()
    action()
    return time.process_time() - started
