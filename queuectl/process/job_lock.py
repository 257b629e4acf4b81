"""The lock file of a queue on this machine, whose locks live exactly as long as the processes that hold them.

The byte at a job's position is the job's lock, which every process of a run inherits. A byte far above all positions is
a worker's lock, which the worker holds as long as it lives. A lock belongs to the open file description (fcntl(2),
"open file description locks"), so the kernel drops it when the last process that has it is gone, however it ended. All
runs of a job use the same lock, so two runs never overlap.

The file's content is four bytes for each position: the number of the job's run that was started last. A copy of the
queue has its own lock file; device and inode, the `identity`, distinguish the two.
"""

import fcntl
import os
import resource
import struct
from contextlib import suppress

from queuectl.errors import StoreBusyError, StoreError
from queuectl.process.protocol import SHORTAGES, Identity

__all__ = ["LOCK_DESCRIPTOR", "LockFile", "check_lock_file", "identity", "lock_descriptor", "lock_file", "works_here"]

LOCK_DESCRIPTOR = 250
"""The descriptor under which a job's processes hold the lock: high, so that a script's `exec 3>&-` does not close it.
"""

_FLOCK = struct.Struct("hhqqi4x")
_RUN = struct.Struct("<I")
_WORKERS = 1 << 62
_MAX_RUN = 0xFFFFFFFF


def lock_file(output_folder: str) -> str:
    """The path of a queue's lock file."""
    return os.path.join(output_folder, ".locks")


def check_lock_file(output_folder: str) -> None:
    """Raises StoreError when the lock file cannot be created or opened for writing."""
    os.close(_open(lock_file(output_folder)))


def lock_descriptor() -> int:
    """The descriptor for a job's lock: `LOCK_DESCRIPTOR`, or the highest one that the limit on open files allows."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return LOCK_DESCRIPTOR if allowed == resource.RLIM_INFINITY else min(LOCK_DESCRIPTOR, allowed - 1)


class LockFile:
    """A worker's view of the lock file at `path`, which is created if it is missing. Takes the lock of this process,
    `me`.

    `any_home`: the queue is on a server, so its lock file below another QUEUECTL_HOME counts as this one too.
    """

    def __init__(self, path: str, me: Identity, any_home: bool = False) -> None:
        self.path, self._any_home = path, any_home
        self._own = _open(path)
        stat = os.fstat(self._own)
        self.identity = _identity(stat)
        _lock(self._own, _worker_byte(me))  # two runners in one process (tests) share this lock
        self._in_proc = (
            _name_in_proc(self._own) or f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
        )

    def take(self, position: int) -> int | None:
        """An open descriptor with the lock of the job enqueued at `position`; None while another process holds it.

        Raises StoreBusyError while the machine is short of descriptors or memory, StoreError when there can be no lock.
        """
        descriptor = _open(self.path)
        try:
            if _lock(descriptor, position):
                return descriptor
        except OSError as error:
            os.close(descriptor)
            raise _cannot_lock(self.path, error) from error
        os.close(descriptor)
        return None

    def works(self, who: Identity) -> bool:
        """Whether a worker with its lock in this file is alive, in any pid namespace."""
        return _is_locked(self._own, _worker_byte(who))

    def mark_started(self, descriptor: int, position: int, run: int) -> None:
        """Mark that a run is about to start, through the job's own descriptor. Raises OSError."""
        os.pwrite(descriptor, _RUN.pack(run & _MAX_RUN), position * _RUN.size)

    def was_started(self, position: int, run: int) -> bool:
        """Whether a run was started since this machine booted. The mark is not synced to the disk."""
        return os.pread(self._own, _RUN.size, position * _RUN.size) == _RUN.pack(run & _MAX_RUN)

    def is_held_by(self, pid: int, position: int) -> bool:
        """Whether a process has inherited the lock of the job enqueued at `position`."""
        if self._holds_at(pid, LOCK_DESCRIPTOR, position):
            return True
        highest = _highest_descriptor(pid)  # used where the limit on open files is lower
        return highest is not None and self._holds_at(pid, highest, position)

    def _holds_at(self, pid: int, number: int, position: int) -> bool:
        where = [str(position)] * 2
        with suppress(OSError), open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
            locks = [line.split()[-3:] for line in file if line.startswith("lock:")]
            if [self._in_proc, *where] in locks:
                return True
            return self._any_home and where in [lock[1:] for lock in locks] and self._is_of_this_queue(pid, number)
        return False

    def _is_of_this_queue(self, pid: int, number: int) -> bool:
        """Whether the descriptor is this queue's lock file, by its folder, which is named after the queue's URL."""
        return os.readlink(f"/proc/{pid}/fd/{number}").split("/")[-2:] == self.path.split("/")[-2:]


def works_here(output_folder: str, identity: str, who: Identity) -> bool | None:
    """Whether the worker `who` is alive, by its lock in the lock file of this identity; None for another file."""
    with suppress(OSError):
        descriptor = os.open(lock_file(output_folder), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _is_locked(descriptor, _worker_byte(who)) if _identity(os.fstat(descriptor)) == identity else None
        finally:
            os.close(descriptor)
    return None


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot_lock(path, error) from error


def _cannot_lock(path: str, error: OSError) -> StoreError:
    kind = StoreBusyError if error.errno in SHORTAGES else StoreError
    return kind(f"cannot lock a job in {path}: {error.strerror}")


def _lock(descriptor: int, byte: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    except BlockingIOError:
        return False
    return True


def _is_locked(descriptor: int, byte: int) -> bool:
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, wanted)
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def _worker_byte(who: Identity) -> int:
    """The byte of a worker's lock, computed from its identity, so that other processes can compute it too."""
    from hashlib import sha256  # 2.4 ms, and most commands ask about no worker

    text = f"{who.boot_id}:{who.pid_namespace}:{who.pid}:{who.pid_started_at}"
    return _WORKERS | int.from_bytes(sha256(text.encode()).digest()[:7])


def identity(path: str) -> str:
    """The identity of a lock file. A copy of the file has another one."""
    return _identity(os.stat(path))


def _identity(stat: os.stat_result) -> str:
    return f"{stat.st_dev:x}.{stat.st_ino:x}"


def _name_in_proc(descriptor: int) -> str:
    """The file's name in /proc's list of locks. It may show another device than stat(2)."""
    with suppress(OSError), open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
        return next((line.split()[-3] for line in file if line.startswith("lock:")), "")
    return ""


def _highest_descriptor(pid: int) -> int | None:
    with suppress(OSError):
        return max(
            (number for number in map(int, os.listdir(f"/proc/{pid}/fd")) if number < LOCK_DESCRIPTOR), default=None
        )
    return None
