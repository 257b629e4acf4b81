"""Processes as Linux's /proc shows them: whether they live, their children, what they carry; and signals to them.

A process is known by (boot id, pid namespace, pid, start time), never by a bare pid, which the system gives to another
process sooner or later. Without /proc nothing is known of others: each counts as alive until its lease is over.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import NamedTuple

from queuectl.process.protocol import Identity
from queuectl.runtime import Reach, boot_id

__all__ = [
    "OwnChildren",
    "ProcessId",
    "adopt_orphans",
    "alive",
    "children",
    "descendants",
    "environment",
    "every_process",
    "in_folder",
    "is_zombie",
    "keep_descriptors",
    "kill",
    "name_of",
    "pid_namespace",
    "session",
    "started_at",
    "this_folder",
    "this_process",
]

PR_SET_CHILD_SUBREAPER = 36
_PAGE, _LONGEST_PID = 4096, 12
"""Bytes that /proc gives at once, and those of a pid with its blank."""
REACH_ALL = 1 << 5 | 1 << 19
"""CAP_KILL and CAP_SYS_PTRACE: to end any process, and to look at it."""


class ProcessId(NamedTuple):
    """See Identity."""

    host: str
    boot_id: str
    pid_namespace: int
    pid: int
    pid_started_at: int


def this_process() -> ProcessId:
    """Who this process is."""
    pid = os.getpid()
    return ProcessId(os.uname().nodename, boot_id(), pid_namespace(), pid, started_at(pid))


@cache
def pid_namespace() -> int:
    """The namespace in which this process's pids mean something; 0 where there are none."""
    with suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino
    return 0


def started_at(pid: int) -> int:
    """When a process started, in clock ticks since the boot; 0 when there is none."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def session(pid: int) -> int:
    """The session of a process; 0 when there is none."""
    fields = _stat(pid)
    return int(fields[3]) if fields else 0


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on: the second, the name, may hold blanks and brackets."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def name_of(pid: int) -> str:
    """A process's name, for messages."""
    return _read(f"/proc/{pid}/comm").decode(errors="replace").strip()


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and only waits for its parent to ask."""
    return _stat(pid)[:1] in ([b"Z"], [b"X"])


def alive(who: Identity, reach: Reach) -> bool | None:
    """Whether a process lives; None when that cannot be seen from here (another machine or pid namespace).

    Where a queue spans hosts, a process of an earlier boot may be on another machine with the same name, as containers
    and clones of a machine have. A claim may also be another user's there, whose processes we can neither find nor end:
    we treat it like one of another machine.
    """
    if who.boot_id != boot_id():
        return False if who.host == os.uname().nodename and reach is Reach.ONE_HOST else None
    is_reachable = reach is Reach.ONE_HOST or _is_in_reach(getattr(who, "uid", None))
    if who.pid_namespace != pid_namespace() or not is_reachable:
        return None
    return started_at(who.pid) == who.pid_started_at and not is_zombie(who.pid)


def _is_in_reach(uid: int | None) -> bool:
    """Whether this process may search and end a user's processes. A worker's row does not name its user."""
    return uid is None or uid == os.geteuid() or _reaches_all()


@cache
def _reaches_all() -> bool:
    """Whether it may do so for every user: root may have lost the right, as in most containers."""
    status = dict(line.split(b":", 1) for line in _read("/proc/self/status").splitlines())
    return int(status.get(b"CapEff", b"0"), 16) & REACH_ALL == REACH_ALL


def children(pid: int) -> list[int]:
    """The direct children of a process (of its main thread, which is the one that our workers have)."""
    return [int(child) for child in _read(f"/proc/{pid}/task/{pid}/children").split()]


class OwnChildren:
    """The direct children of this process, read again and again through one descriptor: opening the file costs more."""

    def __init__(self) -> None:
        pid = os.getpid()
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)

    def pids(self) -> list[int]:
        """They at this moment, zombies included; none where the system does not tell."""
        if self._file is None:
            return []
        found = part = os.pread(self._file, _PAGE, 0)
        while len(part) > _PAGE - _LONGEST_PID:  # the system fills a page with whole numbers, so there may be more
            part = os.pread(self._file, _PAGE, len(found))
            found += part
        return [int(child) for child in found.split()]


def descendants(pid: int) -> list[int]:
    """Children, their children, and so on, by all threads of each."""
    found, unseen = [], [pid]
    while unseen:
        parent = unseen.pop()
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                unseen += map(int, _read(f"/proc/{parent}/task/{thread}/children").split())
        found.append(parent)
    return found[1:]


def environment(pid: int) -> bytes:
    """The environment that a process was started with: `NAME=value`, separated by NUL; empty when not readable."""
    return _read(f"/proc/{pid}/environ")


def every_process() -> list[int]:
    """All pids of this namespace."""
    with suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def kill(pids: Iterable[int], number: int, meant: Callable[[int], bool] = lambda _: True) -> None:
    """Send a signal to each process that is `meant`. Checks again once a pidfd keeps the pid from being given away."""
    for pid in set(pids) - {os.getpid()}:
        if not meant(pid):
            continue
        with suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                if meant(pid) and not is_zombie(pid):
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


def keep_descriptors() -> None:
    """Keep the descriptors that this process inherited, except the standard streams, from those it will start."""
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        if int(name) > 2:
            with suppress(OSError):
                os.set_inheritable(int(name), False)


def this_folder() -> int:
    """A descriptor of the working directory; of / when this process may not enter its own."""
    flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(".", flags)
    except OSError:
        return os.open("/", flags)


@contextmanager
def in_folder(folder: bytes, umask: int, back: int) -> Iterator[None]:
    """Change working directory and umask for a moment: a process that is started then inherits both.

    Relative paths of .env and libpq refer to the folder that we started in, and our own files are private.
    """
    os.chdir(folder)
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)
        with suppress(OSError):  # the command was started all the same
            os.fchdir(back)


def adopt_orphans() -> bool:
    """Make this process the parent of its orphaned descendants (Linux), so that none escapes while it lives."""
    import ctypes

    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    return False


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""
