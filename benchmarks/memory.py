"""A worker's memory and descriptors over 100,000 jobs, and what a finished job leaves on the disk."""

import os
import time

import apsw

from benchmarks import queue
from benchmarks.plan import Plan, folder, note
from benchmarks.process import BenchmarkError, running
from benchmarks.result import Result, at_most

EVENTS_OF_A_RUN = 2  # claimed, completed
LIMIT = 1800
PARTS = {"database": "", "archive": ".archive", "output files": ".output"}


def measure(plan: Plan) -> list[Result]:
    """Ten looks at the worker while it empties the queue, then at the folder."""
    jobs = plan.size(100_000, 200)
    with folder("memory") as home:
        db = f"{home}/queue.db"
        with open(f"{home}/jobs.txt", "w", encoding="utf-8") as file:
            file.write("true\n" * jobs)
        queue.enqueue_file(db, f"{home}/jobs.txt")
        os.unlink(f"{home}/jobs.txt")
        resident, descriptors = _watched(db, jobs)
        wal = _bytes(f"{db}-wal")
        _checkpoint(db)
        sizes = {what: _bytes(db + suffix) for what, suffix in PARTS.items()}
    every = f"every {jobs // 10:,} of {jobs:,} jobs"
    return [
        Result(f"resident memory, {every}", "MiB", resident),
        Result("its last value compared with its first", "MiB", resident[-1:], "first", resident[:1], at_most(1.1)),
        Result(f"open descriptors, {every}", "number", descriptors),
        *(Result(f"{what} for each job", "bytes", [size / jobs]) for what, size in sizes.items()),
        Result("write-ahead log at the end", "MiB", [wal / 2**20]),
    ]


def _watched(db: str, jobs: int) -> tuple[list[float], list[float]]:
    """Resident MiB and open descriptors of a worker whenever another tenth of the jobs is done."""
    resident, descriptors = [], []
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    first, deadline = _position(connection), time.monotonic() + LIMIT
    with running(queue.command(db, "run", "--concurrency", "2")) as worker:
        for tenth in range(1, 11):
            note(f"  {tenth}/10")
            mark = first + EVENTS_OF_A_RUN * jobs * tenth // 10
            while _position(connection) < mark:
                if worker.poll() is not None or time.monotonic() > deadline:
                    raise BenchmarkError(f"the worker did not run {jobs} jobs (exit {worker.returncode})")
                time.sleep(0.05)
            resident.append(_resident(worker.pid))
            descriptors.append(float(len(os.listdir(f"/proc/{worker.pid}/fd"))))
        note("")
    connection.close()
    return resident, descriptors


def _position(connection: apsw.Connection) -> int:
    return connection.execute("SELECT max(position) FROM events").fetchall()[0][0]


def _resident(pid: int) -> float:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS:"))


def _checkpoint(db: str) -> None:
    """Moves what is still in the write-ahead log into the database, so that its size counts all jobs."""
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _bytes(path: str) -> int:
    """Allocated bytes of a file, or of all files in a folder; 0 where there is nothing."""
    files = [os.path.join(place, name) for place, _, names in os.walk(path) for name in names] or [path]
    return sum(512 * os.stat(file).st_blocks for file in files if os.path.isfile(file))
