"""The interface through which a worker runs commands. The runner implements it, and so does the simulation in tests."""

import errno
from typing import Protocol

from msgspec import Struct

from queuectl.domain.commands import Exit
from queuectl.domain.job import Job
from queuectl.runtime import Reach

__all__ = ["SHORTAGES", "Commands", "Ended", "Identity", "ShortageError", "same_process"]

SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
"""Errors of a machine that is short of descriptors, processes or memory. They are not the job's fault."""


class ShortageError(Exception):
    """The machine cannot start any command now: it is short of descriptors, processes, memory or disk space."""


class Ended(Struct, frozen=True):
    """A run whose command ended."""

    job_id: str
    exit: Exit


class Identity(Protocol):
    """A process, identified so that no other one is ever the same: the system uses pids again."""

    @property
    def host(self) -> str:
        """The machine's name."""

    @property
    def boot_id(self) -> str:
        """The boot of the machine."""

    @property
    def pid_namespace(self) -> int:
        """The pid namespace, in which the pid is valid."""

    @property
    def pid(self) -> int:
        """The process id."""

    @property
    def pid_started_at(self) -> int:
        """When the process started, in clock ticks since the boot."""


class Commands(Protocol):
    """The commands of one worker."""

    @property
    def uid(self) -> int | None:
        """The user that the commands run as; None where users make no difference."""

    @property
    def lock_file(self) -> str:
        """The identity of the lock file in which this worker holds its own lock; empty when it has none."""

    def works(self, who: Identity) -> bool:
        """Whether a worker with its lock in this lock file is alive, in any pid namespace."""

    def reserve(self, job: Job) -> bool:
        """Take the job's lock. Returns False while processes of an earlier run hold it."""

    def unreserve(self, job_id: str) -> None:
        """Release the lock of a job that was not claimed."""

    def start(self, job: Job, slot: int) -> Exit | None:
        """Start a reserved job's command in a slot. If it cannot be started, returns its end. Raises ShortageError."""

    def was_started(self, job: Job) -> bool:
        """Whether the job's current run was started since this machine booted, by a worker that used this lock file."""

    def ended(self) -> list[Ended]:
        """The runs whose command has ended since the last call."""

    def end(self, job_id: str, *, force: bool) -> None:
        """Ask every process of a running job to end; with `force`, kill them."""

    def end_leftovers(self, grace: int) -> int:
        """Kill background processes of jobs that ended `grace` microseconds ago. Returns how many jobs have some."""

    def kill_all(self) -> None:
        """Kill every command, and what ended commands left in the background."""

    def live_until(self, moment: int) -> None:
        """Kill all commands at that moment (monotonic) unless a later one is set before then.

        Raises StoreBusyError while that cannot be guaranteed.
        """

    def clear(self, job: Job) -> bool:
        """Kill what is left of a lost worker's run. True once nothing is left."""

    def tails(self, job: Job) -> tuple[str, str]:
        """The last output of a lost run."""

    def alive(self, who: Identity, reach: Reach) -> bool | None:
        """Whether a process is alive; None when that cannot be seen from here. See `procfs.alive`."""


def same_process(one: Identity, other: Identity) -> bool:
    """Whether both are the same process."""
    return (one.host, one.boot_id, one.pid_namespace, one.pid, one.pid_started_at) == (
        other.host,
        other.boot_id,
        other.pid_namespace,
        other.pid,
        other.pid_started_at,
    )
