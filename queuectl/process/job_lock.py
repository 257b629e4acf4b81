"""The lock that a job's processes hold for as long as any of them lives, also after their worker was killed.

All runs of a queue share one lock file; a job's lock is the byte at its position. The lock belongs to the open
file description that the job's processes inherit, so the kernel drops it when the last of them is gone
(fcntl(2), open file description locks). A job has one lock, whatever the run: two runs never overlap.
"""

import fcntl
import os
import struct

from queuectl.errors import StoreBusyError, StoreError
from queuectl.process.protocol import SHORTAGES

__all__ = ["LOCK_DESCRIPTOR", "holds", "lock_file", "take"]

LOCK_DESCRIPTOR = 250
"""Where a job's processes have it: high, so that a script's own `exec 3>&-` does not hit it."""

_FLOCK = struct.Struct("hhqqi4x")


def lock_file(output_folder: str) -> str:
    """The lock file of a queue."""
    return os.path.join(output_folder, ".locks")


def take(path: str, position: int) -> int | None:
    """An open descriptor with the lock of the job enqueued at `position`; None when others hold it.

    Raises StoreBusyError while the machine is short of descriptors or memory, StoreError when it cannot be had at all.
    """
    try:
        return _take(path, position)
    except OSError as error:
        kind = StoreBusyError if error.errno in SHORTAGES else StoreError
        raise kind(f"cannot lock a job in {path}: {error.strerror}") from error


def _take(path: str, position: int) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, position, 1, 0))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def holds(pid: int, path: str, position: int, *, anywhere: bool = False) -> bool:
    """Whether a process has inherited the lock of the job enqueued at `position`.

    `anywhere`: also in the queue's folder below another QUEUECTL_HOME; a server's queue has one of a name of its own.
    """
    try:
        found = os.readlink(f"/proc/{pid}/fd/{LOCK_DESCRIPTOR}")
        if found != path and not (anywhere and found.split("/")[-2:] == path.split("/")[-2:]):
            return False
        with open(f"/proc/{pid}/fdinfo/{LOCK_DESCRIPTOR}", encoding="ascii") as file:
            return any(line.startswith("lock:") and line.split()[-2:] == [str(position)] * 2 for line in file)
    except OSError:
        return False
