"""The queue that is measured: its command line as a subprocess, and its use cases in this process."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.process import ENVIRONMENT, timed

if TYPE_CHECKING:
    from queuectl.application.queue import NewJob, Queue
    from queuectl.domain.commands import Claimant
    from queuectl.domain.events import Enqueued

_SCRIPT = os.path.join(os.path.dirname(sys.executable), "queuectl")
PROGRAM = [_SCRIPT] if os.path.exists(_SCRIPT) else [sys.executable, "-m", "queuectl"]
if len(PROGRAM) > 1:  # not installed: from the source tree, wherever the working folder is
    ENVIRONMENT["PYTHONPATH"] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

SECOND = 1_000_000


def command(db: str, *words: str) -> list[str]:
    """A queuectl command line."""
    return [*PROGRAM, "--db", db, *words]


def enqueue_file(db: str, lines: str) -> float:
    """Seconds of `enqueue --file`."""
    return timed(command(db, "enqueue", "--file", lines), limit=600)


@contextmanager
def opened(db: str, home: str | None = None) -> Iterator["Queue"]:
    """The use cases on this database, in this process; `home` is where a queue on a server keeps its archive."""
    from queuectl.application.queue import Queue
    from queuectl.runtime import SystemClock
    from queuectl.store import open_store
    from queuectl.store.options import StoreOptions

    store = open_store(db, SystemClock(), StoreOptions(home=home))
    try:
        yield Queue(store, "benchmark")
    finally:
        store.close()


def add_schedules(opened: "Queue", number: int) -> None:
    """Add schedules that run once a year, with names that begin with `s`."""
    from queuectl.application.schedules import Put, Schedules
    from queuectl.domain.events import ScheduleSet

    yearly = ScheduleSet(job=spec(), cron="0 0 29 2 *")
    Schedules(opened).apply([Put(f"s{each}", yearly) for each in range(number)])


def spec(text: str = "true", queue: str = "default", priority: int = 0, delay: int = 0) -> "Enqueued":
    """The event that `enqueue` would record for a command; `delay` is microseconds."""
    from queuectl.domain.events import Enqueued

    return Enqueued(
        command=text,
        queue=queue,
        priority=priority,
        max_retries=3,
        backoff_base=2.0,
        backoff_cap=3600 * SECOND,
        jitter=False,
        cwd="/",
        delay=delay,
    )


def job(text: str = "true") -> "NewJob":
    """A job to enqueue."""
    from queuectl.application.queue import NewJob

    return NewJob(spec(text))


def claimant() -> "Claimant":
    """A worker that is not there."""
    from queuectl.domain.commands import Claimant

    return Claimant(
        worker="benchmark", host="none", boot_id="none", pid=1, pid_namespace=1, pid_started_at=0, lease=SECOND
    )
