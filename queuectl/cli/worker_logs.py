"""`worker logs`: the log file of workers in the background, also while it grows and is rotated."""

import os
import sys
from collections import deque
from collections.abc import Sequence
from glob import escape, glob
from typing import BinaryIO

from queuectl.application.queue import Queue
from queuectl.application.workers import is_taken, latest_start
from queuectl.cli.messages import say
from queuectl.errors import UsageError, command_line
from queuectl.runtime import pause
from queuectl.worker import log_file

__all__ = ["print_log", "print_log_alone"]

POLL = 100_000
"""Microseconds between two looks at a file that is followed."""


def print_log(queue: Queue, name: str | None, *, follow: bool, at_most: int | None) -> None:
    """Print the log of the workers of this name (None: of those that logged last), or its last lines.

    `follow`: print what comes too, until the workers have ended. Raises UsageError when there is no such file here.
    """
    path = _newest(queue) if name is None else _path(queue, name)
    followed = _Followed(path)
    followed.print(at_most)
    while follow:
        ended = not is_taken(queue, os.path.basename(path).removesuffix(".log"))
        followed.print()
        if ended:
            return
        pause(POLL)


def print_log_alone(output_folders: Sequence[str], name: str | None, at_most: int | None) -> None:
    """Print the newest log of that name in these folders, for a queue that cannot be opened; nothing without one."""
    pattern = "*.log" if name is None else f"{escape(name)}.log"
    files = [path for each in output_folders for path in glob(os.path.join(escape(each), ".workers", pattern))]
    if files:
        newest = max(files, key=os.path.getmtime)
        say(newest)
        _Followed(newest).print(at_most)


class _Followed:
    """A file that grows, and that another process replaces by a new one when it is long. Raises UsageError."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = self._opened()

    def _opened(self) -> BinaryIO:
        try:
            return open(self._path, "rb")
        except OSError as error:
            raise UsageError(f"cannot read {self._path}: {error.strerror}") from None

    def print(self, at_most: int | None = None) -> None:
        """Print what has come since the last call; of that the last lines."""
        self._write(at_most)
        if os.stat(self._path).st_ino != os.fstat(self._file.fileno()).st_ino:
            self._write()  # what came before it was replaced
            self._file.close()
            self._file = self._opened()
            self._write()

    def _write(self, at_most: int | None = None) -> None:
        lines = self._file if at_most is None else deque(self._file, at_most)
        sys.stdout.buffer.writelines(lines)
        sys.stdout.flush()


def _path(queue: Queue, name: str) -> str:
    """The log file of the worker; those that were started together under one name share one."""
    output = queue.store.location.output_folder
    start = latest_start(queue, name)
    if start and start.log_file and start.host != os.uname().nodename:
        raise UsageError(f"the log of {name} is on {start.host}, in {start.log_file}")
    path = start.log_file if start and start.log_file else log_file.path(output, name)
    if not os.path.exists(path):
        if start:
            raise UsageError(f"{name} logs where it was started: in a terminal, or in the log of its service")
        raise UsageError(f"there is no worker {name} (`{command_line('worker', 'list')}` lists the workers)")
    return path


def _newest(queue: Queue) -> str:
    where = log_file.folder(queue.store.location.output_folder)
    files = [os.path.join(where, each) for each in os.listdir(where) if each.endswith(".log")]
    if not files:
        raise UsageError(f"no worker was started in the background here: {command_line('worker', 'start', '--detach')}")
    newest = max(files, key=os.path.getmtime)
    say(newest)
    return newest
