"""Starts workers in the background and waits until each has recorded its start."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from queuectl.application.queue import Queue
from queuectl.domain.events import WorkerStarted
from queuectl.domain.names import worker_stream
from queuectl.errors import QueuectlError
from queuectl.process.procfs import keep_descriptors
from queuectl.runtime import pause
from queuectl.worker.supervisor import worker_names

__all__ = ["Background", "start_in_background"]

POLL = 50_000
"""Microseconds between two checks for whether the workers have started."""


@dataclass(frozen=True, slots=True)
class Background:
    """Workers that were started: their supervisor's pid, the pids of those that are in the log, and their log file."""

    supervisor: int
    pids: Sequence[int]
    log_file: str


def start_in_background(queue: Queue, name: str, count: int, arguments: Sequence[str]) -> Background:
    """Start `queuectl ARGUMENTS` in the background and wait until each of its workers is in the log.

    Raises QueuectlError, which names the log file, when the process ends before that.
    """
    log_file = _log_file(queue.store.location.output_folder, name)
    starts = _Starts(queue, worker_names(name, count), queue.store.log.head().position)
    pid, code = detach(arguments, log_file, starts.are_complete)
    if code:
        raise QueuectlError(f"the worker did not start: see {log_file}")
    return Background(pid, [starts.pids[each] for each in starts.names if each in starts.pids], log_file)


def _log_file(output_folder: str, name: str) -> str:
    folder = os.path.join(output_folder, ".workers")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return os.path.join(folder, f"{name}.log")


@dataclass(slots=True)
class _Starts:
    """Finds these workers' starts in the log after a position. A worker that has ended since has started too."""

    queue: Queue
    names: Sequence[str]
    after: int
    pids: dict[str, int] = field(default_factory=dict)

    def are_complete(self) -> bool:
        """Whether each of them has started."""
        pause(POLL)
        for name in self.names:
            for record in self.queue.store.log.records(after=self.after, stream_id=worker_stream(name)):
                if isinstance(record.event, WorkerStarted):
                    self.pids[name] = record.event.pid
        return len(self.pids) == len(self.names)


def detach(arguments: Sequence[str], log_file: str, started: Callable[[], bool]) -> tuple[int, int | None]:
    """Start `queuectl ARGUMENTS` in the background with its output in `log_file`, and wait until `started`.

    Returns its pid, and its exit code when it ended before that. It inherits none of our other descriptors: a lock or
    a pipe among them would stay open as long as it lives.
    """
    keep_descriptors()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "queuectl", *arguments],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log_file, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    while not started():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return pid, os.waitstatus_to_exitcode(status)
    return pid, None
