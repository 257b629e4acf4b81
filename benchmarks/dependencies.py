"""Jobs that wait for one another: a fan-out, and the price of looking for consequences.

Each measurement has a process of its own: `python -m benchmarks.dependencies MODE JOBS DB` prints the seconds.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import patch

from benchmarks import queue
from benchmarks.plan import Plan, folder, in_turn
from benchmarks.postgres_server import database, installed, running
from benchmarks.process import output
from benchmarks.result import Result, Target, at_most

if TYPE_CHECKING:
    from queuectl.application.queue import Queue
    from queuectl.domain.job import Job

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SLOTS = 10
SLICE = 100
"""Jobs that one side has before it is the other side's turn."""


def measure(plan: Plan) -> list[Result]:
    """One job that frees 10,000; and whole lives of jobs, with and without the search for consequences."""
    freed, jobs, rounds = plan.size(10_000, 50), plan.size(3_000, 200), plan.rounds(5)
    [times] = in_turn({"freed": partial(_one, "freed", freed)}, rounds).values()
    on_a_server = _on_a_server(freed, rounds) if installed(plan) else []
    quiet, reactive = ([_seconds(mode, jobs) for _ in range(rounds)] for mode in ("quiet", "reactive"))
    return [
        Result(f"one job frees {freed:,}", "s", times, target=at_most(2)),
        *on_a_server,
        _against(f"{jobs:,} jobs added, claimed, done", quiet, at_most(1.03)),
        _against("… while another job waits", reactive, None),
    ]


def _on_a_server(freed: int, rounds: int) -> list[Result]:
    """The same on PostgreSQL, with the copy to the archive."""
    with running() as server:

        def once() -> float:
            with folder("home") as home, database(server) as url:
                return _timed("freed", freed, url, QUEUECTL_HOME=home)[0]

        [times] = in_turn({"freed on PostgreSQL": once}, rounds).values()
    return [Result("… on PostgreSQL, archive included", "s", times, target=at_most(2))]


def _against(case: str, pairs: Sequence[Sequence[float]], target: Target | None) -> Result:
    ours, blind = map(list, zip(*pairs, strict=True))
    return Result(case, "s of CPU", ours, "no search for consequences", blind, target)


def _one(mode: str, jobs: int) -> float:
    return _seconds(mode, jobs)[0]


def _seconds(mode: str, jobs: int) -> list[float]:
    with folder(mode) as home:
        return _timed(mode, jobs, f"{home}/queue.db")


def _timed(mode: str, jobs: int, db: str, **env: str) -> list[float]:
    argv = [sys.executable, "-m", "benchmarks.dependencies", mode, str(jobs), db]
    return [float(word) for word in output(argv, env={"PYTHONPATH": _ROOT, **env}, limit=600).split()]


def _freed(jobs: int, db: str) -> list[float]:
    """Seconds from the end of a job until all that wait for it are freed, on disk."""
    with queue.opened(db) as opened:
        _add(opened, "cause")
        for start in range(0, jobs, 1000):
            _add(opened, *(f"w{number}" for number in range(start, min(start + 1000, jobs))), after=("cause",))
        ended = _claimed(opened, 1)
        started = time.perf_counter()
        _finish(opened, ended)
        elapsed = time.perf_counter() - started
        assert len(opened.store.tables.claimable((), jobs, opened.store.log.wall())) == jobs, "not all are free"
    return [elapsed]


def _add(opened: "Queue", *ids: str, after: Sequence[str] = (), delay: int = 0) -> None:
    from msgspec.structs import replace

    from queuectl.application.queue import NewJob
    from queuectl.domain.events import After

    spec = replace(queue.spec(delay=delay), after=tuple(map(After, after)))
    opened.enqueue([NewJob(spec, job_id) for job_id in ids])


def _claimed(opened: "Queue", number: int) -> list["Job"]:
    return opened.claim(queue.claimant(), (), number, lambda job: True)


def _finish(opened: "Queue", jobs: Sequence["Job"]) -> None:
    from queuectl.domain.commands import Exit, Report

    opened.execute([Report(job.id, job.run, Exit()) for job in jobs], {job.id: job for job in jobs})


def _lives(jobs: int, db: str, *, waits: bool = False) -> list[float]:
    """Seconds of CPU time for the lives of so many jobs, with the search for consequences and without it.

    The two take turns, so that a slow moment meets both. The wait for the disk is left out: it is the same for both.
    """
    with queue.opened(db) as opened:
        if waits:
            _add(opened, "late", delay=3600 * queue.SECOND)
            _add(opened, "waiting", after=("late",))
        _live(opened, SLICE)  # imports what is imported late
        sides, spent = [nullcontext, _blind], [0.0, 0.0]
        for turn in range(2 * jobs // SLICE):
            side = (turn + turn // 2) % 2  # A B B A A B B A …
            with sides[side]():
                started = time.process_time()
                _live(opened, SLICE)
                spent[side] += time.process_time() - started
    return spent


def _live(opened: "Queue", jobs: int) -> None:
    """Add jobs one at a time, then claim and finish them by ten."""
    for _ in range(jobs):
        opened.enqueue([queue.job()])
    for _ in range(jobs // SLOTS):
        _finish(opened, _claimed(opened, SLOTS))


@contextmanager
def _blind() -> Iterator[None]:
    """A build that looks for no consequences."""
    from queuectl.store.sql import writer

    none = patch.object(writer, "_may_react", lambda changes, jobs: False)
    with none, patch.object(writer.Writer, "_with_consequences", lambda self, changes, batch, jobs, actor: list(jobs)):
        yield


MODES: dict[str, Callable[[int, str], list[float]]] = {
    "freed": _freed,
    "quiet": _lives,
    "reactive": partial(_lives, waits=True),
}


if __name__ == "__main__":
    mode, number, path = sys.argv[1:]
    print(*MODES[mode](int(number), path))
