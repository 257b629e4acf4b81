"""Starts workers in the background and waits until each has recorded its start."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass, field

from queuectl.application.queue import Queue
from queuectl.application.workers import is_taken
from queuectl.domain.events import WorkerStarted
from queuectl.domain.names import worker_stream
from queuectl.errors import QueuectlError, UsageError
from queuectl.process.procfs import keep_descriptors
from queuectl.runtime import pause
from queuectl.worker.log_file import Start, path, read_start, remove_old, started_names, write_start
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


def start_in_background(queue: Queue, start: Start) -> Background:
    """Start `queuectl` in the background and wait until each of its workers is in the log.

    Raises QueuectlError, which names the log file, when the process ends before that.
    """
    output = queue.store.location.output_folder
    log_file = path(output, start.name)
    remove_old(output, queue.store.log.wall(), lambda name: name == start.name or is_taken(queue, name))
    write_start(output, start)
    starts = _Starts(queue, worker_names(start.name, start.count), queue.store.log.head().position)
    pid, code = detach([*start.arguments, "--log-file", log_file], start.cwd, log_file, starts.are_complete)
    if code:
        raise QueuectlError(f"the worker did not start: see {log_file}")
    return Background(pid, [starts.pids[each] for each in starts.names if each in starts.pids], log_file)


def in_background(queue: Queue, names: Sequence[str]) -> list[Start]:
    """How the workers that run in the background of this machine were started: all of them, or those of these names.

    Raises UsageError for a name that is not among them, and when there are none.
    """
    output = queue.store.location.output_folder
    known = {each: start for each in started_names(output) if (start := read_start(output, each))}
    found = {name: start for name, start in known.items() if is_taken(queue, name)}
    missing = [name for name in names if name not in found]
    if missing or not found:
        who = missing[0] if missing else "no worker"
        why = f"{who} {'does not run' if missing else 'runs'} here in the background (`worker start --detach`)"
        raise UsageError(f"{why}: restart workers where they were started")
    return [found[name] for name in names or sorted(found)]


@dataclass(slots=True)
class _Starts:
    """Finds these workers' starts in the log after a position. A worker that has ended since has started too."""

    queue: Queue
    names: Sequence[str]
    after: int
    pids: dict[str, int] = field(default_factory=dict)

    def are_complete(self) -> bool:
        """Whether each of them has started."""
        for name in self.names:
            for record in self.queue.store.log.records(after=self.after, stream_id=worker_stream(name)):
                if isinstance(record.event, WorkerStarted):
                    self.pids[name] = record.event.pid
        return len(self.pids) == len(self.names)


def detach(arguments: Sequence[str], folder: str, log_file: str, started: Callable[[], bool]) -> tuple[int, int | None]:
    """Start `queuectl ARGUMENTS` in the background with its output in `log_file`, and wait until `started`.

    Returns its pid, and its exit code when it ended before that. It inherits none of our other descriptors: a lock or
    a pipe among them would stay open as long as it lives.
    """
    keep_descriptors()
    with chdir(folder):
        pid = _spawned(arguments, os.path.abspath(log_file))
    while not started():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return pid, os.waitstatus_to_exitcode(status)
        pause(POLL)
    return pid, None


def _spawned(arguments: Sequence[str], log_file: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
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
