"""What a worker needs of whoever runs commands for it: the runner, or a test's world in virtual time."""

import errno
from typing import NamedTuple, Protocol

from queuectl.domain.commands import Exit
from queuectl.domain.job import Job

__all__ = ["SHORTAGES", "Commands", "Ended", "Identity", "ShortageError", "same_process"]

SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
"""What a start fails with for want of descriptors, processes or memory, which says nothing of the job."""


class ShortageError(Exception):
    """The machine lacks what it takes to start a command, any command: descriptors, processes or memory."""


class Ended(NamedTuple):
    """A run whose command ended."""

    job_id: str
    exit: Exit


class Identity(Protocol):
    """A process, known for good: a pid alone is given to someone else sooner or later."""

    @property
    def host(self) -> str:
        """The machine's name."""

    @property
    def boot_id(self) -> str:
        """The boot of the machine."""

    @property
    def pid_namespace(self) -> int:
        """Where the pid means something."""

    @property
    def pid(self) -> int:
        """The process id."""

    @property
    def pid_started_at(self) -> int:
        """When it started, in clock ticks since the boot."""


class Commands(Protocol):
    """The commands of one worker."""

    @property
    def uid(self) -> int | None:
        """The user that they run as; None where users make no difference."""

    def reserve(self, job: Job) -> bool:
        """Take the job's lock; False while processes of an earlier run hold it."""

    def unreserve(self, job_id: str) -> None:
        """Give a lock back that was taken for a claim that failed."""

    def start(self, job: Job) -> Exit | None:
        """Start a reserved job's command; its end at once when it cannot be started. Raises ShortageError."""

    def ended(self) -> list[Ended]:
        """Runs whose command has ended since the last call."""

    def end(self, job_id: str, *, force: bool) -> None:
        """Ask every process of a running job to end, or end it by force."""

    def end_leftovers(self, grace: int) -> int:
        """Kill what jobs that ended `grace` microseconds ago left in the background; how many still have some."""

    def kill_all(self) -> None:
        """Kill every command, whoever knows of it, and what is left of others."""

    def live_until(self, moment: int) -> None:
        """Kill every command and what is left of others at that moment (monotonic), unless told a later one first.

        Raises StoreBusyError while that cannot be promised.
        """

    def clear(self, job: Job) -> bool:
        """Kill what is left of a lost worker's run; True once nothing is."""

    def tails(self, job: Job) -> tuple[str, str]:
        """The last output of a lost run."""

    def alive(self, who: Identity, spans_hosts: bool) -> bool | None:
        """Whether a process lives; None when that cannot be seen from here, as `process.alive` says."""


def same_process(one: Identity, other: Identity) -> bool:
    """Whether both are one process, and not two that share a name."""
    return (one.host, one.boot_id, one.pid_namespace, one.pid, one.pid_started_at) == (
        other.host,
        other.boot_id,
        other.pid_namespace,
        other.pid,
        other.pid_started_at,
    )
