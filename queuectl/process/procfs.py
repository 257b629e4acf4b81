"""Processes by identity, never by a bare pid: who lives, whose children they are, what they carry, and ending them.

An identity is (boot id, pid namespace, pid, start time): a pid alone is given to someone else sooner or later.
Reads Linux's /proc. Where there is none nothing is known of others: each counts as alive until its lease is over.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

from queuectl.process.protocol import Identity
from queuectl.runtime import boot_id

__all__ = [
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
    "pid_namespace",
    "session",
    "started_at",
    "this_folder",
]

PR_SET_CHILD_SUBREAPER = 36
REACH_ALL = 1 << 5 | 1 << 19
"""CAP_KILL and CAP_SYS_PTRACE: to end any process, and to look at it."""


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


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and only waits for its parent to ask."""
    return _stat(pid)[:1] in ([b"Z"], [b"X"])


def alive(who: Identity, spans_hosts: bool) -> bool | None:
    """Whether a process lives; None when that cannot be seen from here (another machine or pid namespace).

    Where a queue spans hosts, a name alone does not tell another machine from this one before its boot: containers and
    clones of a machine share theirs. And a claim may be another user's there, whose processes are not ours to find and
    end: as if it were another machine's.
    """
    if who.boot_id != boot_id():
        return False if who.host == os.uname().nodename and not spans_hosts else None
    if who.pid_namespace != pid_namespace() or (spans_hosts and not _is_in_reach(getattr(who, "uid", None))):
        return None
    return started_at(who.pid) == who.pid_started_at and not is_zombie(who.pid)


def _is_in_reach(uid: int | None) -> bool:
    """Whether a user's processes can be searched and ended from here. A worker's row does not say whose it is."""
    return uid is None or uid == os.geteuid() or _reaches_all()


@cache
def _reaches_all() -> bool:
    """Whether any user's can: root may have lost the right, as in most containers."""
    status = dict(line.split(b":", 1) for line in _read("/proc/self/status").splitlines())
    return int(status.get(b"CapEff", b"0"), 16) & REACH_ALL == REACH_ALL


def children(pid: int) -> list[int]:
    """The direct children of a process (of its main thread, which is the one that our workers have)."""
    return [int(child) for child in _read(f"/proc/{pid}/task/{pid}/children").split()]


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
    """The environment that a process was started with, `NAME=value` parted by NUL; empty when not ours to read."""
    return _read(f"/proc/{pid}/environ")


def every_process() -> list[int]:
    """All pids of this namespace."""
    with suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def kill(pids: Iterable[int], number: int, meant: Callable[[int], bool] = lambda _: True) -> None:
    """Send a signal to each process that is `meant`: asked again once a pidfd holds it and its pid stays its own."""
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
    """Keep what this process was started with (but for the standard streams) from the processes it will start."""
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        if int(name) > 2:
            with suppress(OSError):
                os.set_inheritable(int(name), False)


def this_folder() -> int:
    """A descriptor of the folder that this process is in; of / when it may not enter its own."""
    flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(".", flags)
    except OSError:
        return os.open("/", flags)


@contextmanager
def in_folder(folder: bytes, back: int) -> Iterator[None]:
    """Be in another folder for a moment: relative paths of .env and libpq mean the one that we were started in."""
    os.chdir(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # what was done there is done
            os.fchdir(back)


def adopt_orphans() -> bool:
    """Make orphaned descendants children of this process (Linux), so that none escapes it while it lives."""
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
