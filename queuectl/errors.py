"""Errors shown to users: each message is one line that says what to do, and each class has its own exit code.

The commands that messages advise are made here too, so that they can be pasted into a shell.
"""

import errno
import shlex
from typing import Self

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of SIGINT, as shells count."""

FREE_SPACE = "free space there and try again; nothing that was recorded is lost"
DISK_FULL = f"the disk is full: {FREE_SPACE}"

_QUEUE_OPTIONS: list[str] = []
"""The options that named this process's queue. They are stored here because messages are made in every module."""


def set_queue_options(*words: str) -> None:
    """Have advised commands name the queue by these options, such as `--db PATH`; by none when none was given."""
    _QUEUE_OPTIONS[:] = words


def queue_options() -> tuple[str, ...]:
    """The arguments of `set_queue_options`, for a process that is to advise the same commands."""
    return tuple(_QUEUE_OPTIONS)


def command_line(*words: str) -> str:
    """A command of queuectl for the queue of this process, quoted for a shell."""
    return shlex.join(["queuectl", *_QUEUE_OPTIONS, *words])


def runnable(remedy: str) -> str:
    """The remedy, for the queue of this process when it is a command; a sentence stays as it is."""
    name, _, rest = remedy.partition(" ")
    return f"{command_line()} {rest}" if name == "queuectl" and not rest.startswith(("--db ", "--context ")) else remedy


def reason_of(error: OSError) -> str:
    """The system's text for the error; for a full disk also what to do."""
    if error.errno == errno.ENOSPC:
        return DISK_FULL
    return f"{error.strerror}: {FREE_SPACE}" if error.errno == errno.EDQUOT else error.strerror or str(error)


class QueuectlError(Exception):
    """The command failed."""

    exit_code = 1

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else (self.__doc__ or "").splitlines()[0]


class OutputError(QueuectlError):
    """The command did its work, but stdout cannot be written to."""


class UsageError(QueuectlError):
    """The command line, a file or a value is invalid."""

    exit_code = 2


class NoSuchJobError(QueuectlError):
    """No such job."""

    exit_code = 3

    @classmethod
    def of(cls, job_id: str) -> Self:
        """The error for an unknown id, with the command that lists the jobs."""
        return cls(f"no such job: {job_id or repr('')} (`{command_line('list')}` lists the jobs)")


class RefusedError(QueuectlError):
    """The move is not allowed from the job's state, or the id or unique key is taken."""

    exit_code = 4


class StoreError(QueuectlError):
    """The store cannot be used."""

    exit_code = 5


class StoreBusyError(StoreError):
    """Another process locked the store for longer than the busy timeout; try again."""


class NotArchivedError(StoreError):
    """The change is on disk in the database, but not in the archive, as durability `paranoid` demands."""


class WaitTimedOutError(QueuectlError):
    """The wait timed out."""

    exit_code = 124
