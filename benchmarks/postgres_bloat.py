"""Claiming in a long run while another client holds an old snapshot open, so that no dead row can be removed.

Every job leaves dead rows and index entries. Vacuum may remove them only when no snapshot can see them any more, and a
forgotten `BEGIN`, a backup or a replica's long query prevents that. Claims have to get past them.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from benchmarks import queue
from benchmarks.plan import Plan, note
from benchmarks.postgres_server import database
from benchmarks.result import Result, at_most

if TYPE_CHECKING:
    from queuectl.application.queue import Queue
    from tests.support.postgres import Server

AT_ONCE = 10
HELD_FOR = 60.0
WITHIN = at_most(2)


def measure(plan: Plan, server: "Server") -> list[Result]:
    """Before, while and after the snapshot is held: the same process claims and finishes, ten jobs at a time."""
    jobs, stock = plan.size(1_000_000, 600), plan.size(1000, 100)
    with database(server) as url, queue.opened(url, os.path.abspath("home")) as opened:
        samples = _run(opened, url, jobs, stock, 2 * stock if plan.smoke else jobs)
    before, held, after = samples["before"], samples["held"], samples["after"]
    what = f"claiming {AT_ONCE}, over {jobs:,} jobs"
    return [
        Result(f"{what}: old snapshot held", "ms", held, "before", before, WITHIN),
        Result(f"{what}: its last second", "ms", samples["last"], "before", before, WITHIN),
        Result(f"{what}: after it", "ms", after, "before", before, WITHIN),
    ]


def _run(opened: "Queue", url: str, jobs: int, stock: int, most_held: int) -> dict[str, list[float]]:
    """Milliseconds of every claim. The snapshot is held from a tenth of the way on, for a minute or so many jobs."""
    samples: dict[str, list[float]] = {"before": [], "held": [], "last": [], "after": []}
    moments: list[float] = []
    with ExitStack() as snapshot:
        phase, until = "before", 0.0
        for done in range(0, jobs, stock):
            note(f"  job {done:,}/{jobs:,}: {phase}")
            if phase == "before" and done >= jobs // 10:
                snapshot.enter_context(_old_snapshot(url))
                phase, until, enough = "held", time.monotonic() + HELD_FOR, done + most_held
            elif phase == "held" and (time.monotonic() >= until or done >= enough):
                snapshot.close()
                phase = "after"
            for taken in _use_up(opened, stock):
                samples[phase].append(taken)
                moments += [time.monotonic()] if phase == "held" else []
    samples["last"] = [taken for taken, at in zip(samples["held"], moments, strict=True) if at > moments[-1] - 1]
    return samples


def _use_up(opened: "Queue", stock: int) -> Iterator[float]:
    """Adds a stock of jobs, and claims and finishes them; milliseconds of each claim."""
    from queuectl.domain.commands import Exit, Report

    opened.enqueue([queue.job() for _ in range(stock)])
    while True:
        started = time.perf_counter()
        jobs = opened.claim(queue.claimant(), (), AT_ONCE, lambda job: True)
        taken = 1000 * (time.perf_counter() - started)
        if not jobs:
            return
        yield taken
        opened.execute([Report(job.id, job.run, Exit()) for job in jobs], {job.id: job for job in jobs})


@contextmanager
def _old_snapshot(url: str) -> Iterator[None]:
    import psycopg

    with psycopg.connect(url) as forgotten:
        forgotten.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        forgotten.execute("SELECT 1")
        yield
