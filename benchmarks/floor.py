"""The least that a worker can cost: a Python loop that starts commands and syncs a transaction every 10 ms.

It chooses no job, checks no rule and stores no output. A queue in Python that writes its results to disk cannot be much
faster. Run as a program: `python floor.py SLOTS JOBS COMMAND`.
"""

import os
import select
import sys
import time

import apsw

GROUP_FOR = 0.01  # seconds that results wait for each other, as in the worker


def main(slots: int, jobs: int, command: str) -> None:
    """Run the command `jobs` times, at most `slots` at once, and record each run's end in a table."""
    database = apsw.Connection("floor.db")
    schema = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE ended (run INTEGER, code INTEGER)"
    database.execute(schema).fetchall()
    poll, running = select.poll(), dict[int, int]()
    results, recorded_at, started = list[tuple[int, int]](), time.monotonic(), 0
    while started < jobs or running:
        while started < jobs and len(running) < slots:
            running[_start(command, poll)] = started
            started += 1
        for descriptor, _ in poll.poll(GROUP_FOR * 1000):
            poll.unregister(descriptor)
            code = os.waitid(os.P_PIDFD, descriptor, os.WEXITED).si_status
            os.close(descriptor)
            results.append((running.pop(descriptor), code))
        if results and (not running or time.monotonic() - recorded_at >= GROUP_FOR):
            with database:
                database.executemany("INSERT INTO ended VALUES (?, ?)", results)
            results, recorded_at = [], time.monotonic()
    database.close()


def _start(command: str, poll: select.poll) -> int:
    """A descriptor that turns readable when the command has ended."""
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", command], os.environ)
    descriptor = os.pidfd_open(pid)
    poll.register(descriptor, select.POLLIN)
    return descriptor


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
