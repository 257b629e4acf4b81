"""How soon an idle worker starts a new job, and how much CPU time its waiting costs."""

import os
import random
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import quantiles

from benchmarks import queue
from benchmarks.plan import Plan, folder, note
from benchmarks.process import BenchmarkError, running, timed
from benchmarks.result import Result, Target, at_most


def measure(plan: Plan) -> list[Result]:
    """With one idle worker: through the Python API, through the command line, and then its CPU time at rest."""
    with folder("latency") as home:
        db = f"{home}/queue.db"
        with pipe(f"{home}/started") as started, queue.opened(db) as opened:
            command = f"echo > {home}/started"
            with running(queue.command(db, "run")) as worker:
                api = _samples(started, lambda: opened.enqueue([queue.job(command)]), plan.size(200, 5))
                line = queue.command(db, "enqueue", command)
                shell = _samples(started, lambda: timed(line), plan.size(30, 2))
                idle = _idle_cpu(worker.pid, plan.size(10, 1))
    called, returned = (list(times) for times in zip(*api, strict=True))
    return [
        *_results("from the return of Python's `enqueue`", returned, at_most(10)),
        *_results("from the call of Python's `enqueue`", called, at_most(10)),
        *_results("from the start of an `enqueue` process", [called for called, _ in shell]),
        Result("the idle worker's CPU", "% of a core", [idle], target=at_most(1)),
        Result("the same with 1,000 schedules", "% of a core", [_with_schedules(plan)], target=at_most(1)),
    ]


def _with_schedules(plan: Plan) -> float:
    """The CPU time of a worker at rest, on a queue with schedules of which none is due."""
    with folder("latency") as home:
        db = f"{home}/queue.db"
        with queue.opened(db) as opened:
            queue.add_schedules(opened, 1000)
        with running(queue.command(db, "run")) as worker:
            time.sleep(1)
            return _idle_cpu(worker.pid, plan.size(10, 1))


@contextmanager
def pipe(path: str) -> Iterator[int]:
    """The job's first instruction is a shell's own `echo` into this pipe, so no clock has to be compared."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR)
    try:
        yield reader
    finally:
        os.close(reader)


def _samples(started: int, enqueue: Callable[[], object], count: int) -> list[tuple[float, float]]:
    """Milliseconds from the call of `enqueue`, and from its return, until the job ran; the first does not count."""
    found = []
    for number in range(count + 1):
        note(f"  job {number}/{count}")
        time.sleep(random.uniform(0.02, 0.08))  # out of step with any polling
        called = time.perf_counter()
        enqueue()
        returned = time.perf_counter()
        _await_start(started)
        now = time.perf_counter()
        found.append((1000 * (now - called), 1000 * (now - returned)))
    note("")
    return found[1:]


def _await_start(started: int, limit: float = 30) -> None:
    if not select.select([started], [], [], limit)[0]:
        raise BenchmarkError(f"the idle worker did not start a job within {limit:g} s")
    os.read(started, 1)


def _idle_cpu(pid: int, seconds: int) -> float:
    """Percent of one core that a process used while nothing happened."""
    time.sleep(1)
    before, begun = _cpu_seconds(pid), time.perf_counter()
    time.sleep(seconds)
    return 100 * (_cpu_seconds(pid) - before) / (time.perf_counter() - begun)


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _results(since: str, samples: list[float], target: Target | None = None) -> list[Result]:
    return [
        Result(f"{since}: median", "ms", samples, target=target),
        Result(f"{since}: 99th percentile", "ms", [quantiles(samples, n=100, method="inclusive")[98]]),
    ]
