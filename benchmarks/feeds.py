"""A worker's rate while 50 readers follow the feed of `serve`, compared with its rate without server and readers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks import queue
from benchmarks.plan import Plan, folder, in_turn
from benchmarks.process import ENVIRONMENT, BenchmarkError, timed
from benchmarks.result import Result, at_least

READERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "feed_readers.py")
TARGET = at_least(0.95)
PATIENCE = 60


def measure(plan: Plan) -> list[Result]:
    """Commands that do nothing: the worker uses both cores. And commands that wait: it has time left."""
    readers = plan.size(50, 3)
    return [
        _compared(plan, readers, plan.size(1500, 30), "true"),
        _compared(plan, readers, plan.size(300, 10), "sleep 0.02"),
    ]


def _compared(plan: Plan, readers: int, jobs: int, command: str) -> Result:
    with folder("feeds") as home:
        lines = f"{home}/{jobs}.txt"
        with open(lines, "w", encoding="utf-8") as file:
            file.write(f"{command}\n" * jobs)
        sides = {"with": partial(_drained, lines, jobs, readers), "without": partial(_drained, lines, jobs, 0)}
        rates = {name: [jobs / each for each in times] for name, times in in_turn(sides, plan.rounds(7)).items()}
    case = f"2 slots, {jobs} jobs `{command}`, {readers} readers of the feed"
    return Result(case, "jobs/s", rates["with"], "without server and readers", rates["without"], TARGET)


def _drained(lines: str, jobs: int, readers: int) -> float:
    """Seconds of a whole `run --drain`. The readers then have every event."""
    with folder("queue") as place:
        db = f"{place}/queue.db"
        queue.enqueue_file(db, lines)
        command = queue.command(db, "run", "--drain", "--concurrency", "2")
        if not readers:
            return timed(command, limit=300)
        with _served(db) as url, _reading(url, readers, jobs):
            return timed(command, limit=300)


@contextmanager
def _served(db: str) -> Iterator[str]:
    """A server of the queue: its URL with the token."""
    command = queue.command(db, "serve", "--listen", "127.0.0.1:0")
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@contextmanager
def _reading(url: str, readers: int, jobs: int) -> Iterator[None]:
    """Readers in a process of the lowest priority: browsers run on other machines."""
    events = 2 * jobs  # claimed and completed; the jobs themselves were added before
    command = ["nice", "-n", "19", sys.executable, READERS, url, str(readers), str(jobs), str(events)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # all are connected
            yield
            over = time.monotonic() + PATIENCE
            while process.poll() is None and time.monotonic() < over:
                time.sleep(0.05)
            found = json.loads(process.stdout.read() or "[]")
        finally:
            process.kill()
    if len(found) != readers or min(found) < events:
        raise BenchmarkError(f"the readers got {found} of {events} events")
