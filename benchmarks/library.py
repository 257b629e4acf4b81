"""Enqueues through one queue's Python API, in its own process: `python -m benchmarks.library NAME MODE JOBS DB`.

Each queue has its own process, because a process may not open databases through two SQLites. Prints the seconds. Mode
`each`: every job is on disk before the next one is added. Mode `batch`: all in one transaction, if the library can.
"""

import os
import sys
import time
from collections.abc import Callable

from benchmarks import queue
from benchmarks.plan import folder
from benchmarks.process import output

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def seconds(name: str, mode: str, jobs: int) -> float:
    """Runs this file as a child on a new database."""
    with folder(name) as home:
        argv = [sys.executable, "-m", "benchmarks.library", name, mode, str(jobs), f"{home}/queue.db"]
        return float(output(argv, env={"PYTHONPATH": _ROOT}, limit=600))


def _queuectl(mode: str, jobs: int, db: str) -> float:
    with queue.opened(db) as opened:
        if mode == "batch":
            return _timed(lambda: opened.enqueue([queue.job() for _ in range(jobs)]))
        return _timed(lambda: [opened.enqueue([queue.job()]) for _ in range(jobs)])


def _huey(mode: str, jobs: int, db: str) -> float:
    from huey import SqliteHuey

    assert mode == "each", "huey has no batches"
    app = SqliteHuey(filename=db, fsync=True)
    task = app.task()(_nothing)
    return _timed(lambda: [task("true") for _ in range(jobs)])


def _litequeue(mode: str, jobs: int, db: str) -> float:
    from litequeue import LiteQueue

    waiting = LiteQueue(db)
    waiting.conn.execute("PRAGMA synchronous=FULL")  # its default, NORMAL, may lose the newest jobs
    if mode == "each":
        return _timed(lambda: [waiting.put("true") for _ in range(jobs)])

    def batch() -> None:
        with waiting.transaction():
            for _ in range(jobs):
                waiting.put("true")

    return _timed(batch)


def _persistqueue(mode: str, jobs: int, db: str) -> float:
    from persistqueue import SQLiteQueue

    waiting = SQLiteQueue(db, auto_commit=mode == "each")  # its SQLite's default is synchronous=FULL

    def put() -> None:
        for _ in range(jobs):
            waiting.put("true")
        waiting.task_done()

    return _timed(put)


def _nothing(command: str) -> None:
    """A task of huey that is never run."""


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


_LIBRARIES = {"queuectl": _queuectl, "huey": _huey, "litequeue": _litequeue, "persistqueue": _persistqueue}

if __name__ == "__main__":
    _name, _mode, _jobs, _db = sys.argv[1:]
    print(_LIBRARIES[_name](_mode, int(_jobs), _db))
