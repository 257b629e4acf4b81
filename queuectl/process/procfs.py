"""Reads processes from Linux's /proc: whether they live, their children, environment and session. Sends signals to
them.

A process is identified by (boot id, pid namespace, pid, start time), never by a pid alone, which the system uses again
sooner or later. Without /proc nothing is known about other processes: each counts as alive until its lease is over.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from queuectl.process.protocol import Identity
from queuectl.runtime import Reach, boot_id

__all__ = [
    "OwnChildren",
    "ProcessId",
    "adopt_orphans",
    "alive",
    "arguments",
    "children",
    "descendants",
    "environment",
    "every_process",
    "is_zombie",
    "keep_descriptors",
    "kill",
    "name_of",
    "named",
    "pid_namespace",
    "session",
    "started_at",
    "this_folder",
    "this_process",
]

PR_SET_CHILD_SUBREAPER = 36
_PAGE, _LONGEST_PID = 4096, 12
"""Bytes that /proc returns at once, and the longest pid with its blank."""
_MANY_DESCRIPTORS, _NAMED = 1 << 16, 10
"""Descriptors that are closed without /proc, and processes that one line names."""
REACH_ALL = 1 << 5 | 1 << 19
"""CAP_KILL and CAP_SYS_PTRACE: the rights to end and to inspect any process."""


class ProcessId(NamedTuple):
    """An `Identity` as a tuple."""

    host: str
    boot_id: str
    pid_namespace: int
    pid: int
    pid_started_at: int


def this_process() -> ProcessId:
    """The identity of this process."""
    pid = os.getpid()
    return ProcessId(os.uname().nodename, boot_id(), pid_namespace(), pid, started_at(pid))


@cache
def pid_namespace() -> int:
    """The namespace in which this process's pids are valid; 0 where there are no namespaces."""
    with suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino
    return 0


def started_at(pid: int) -> int:
    """When a process started, in clock ticks since the boot; 0 when there is no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def session(pid: int) -> int:
    """The session of a process; 0 when there is no such process."""
    fields = _stat(pid)
    return int(fields[3]) if fields else 0


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on. The second, the name, may contain blanks and brackets."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def name_of(pid: int) -> str:
    """A process's name, for messages."""
    return _read(f"/proc/{pid}/comm").decode(errors="replace").strip()


def named(pids: Sequence[int]) -> Iterator[str]:
    """All these processes as texts for messages, ten in each: `sleep (pid 12), sh (pid 13)`."""
    for part in range(0, len(pids), _NAMED):
        yield ", ".join(f"{name_of(pid)} (pid {pid})" for pid in pids[part : part + _NAMED])


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and only waits for its parent to collect its status."""
    return _stat(pid)[:1] in ([b"Z"], [b"X"])


def alive(who: Identity, reach: Reach) -> bool | None:
    """Whether a process is alive; None when that cannot be seen from here (another machine or pid namespace).

    When several hosts share the queue, a process of an earlier boot may be on another machine of the same name, such as
    a container or a cloned machine. A claim may also belong to another user, whose processes we can neither find nor
    end. We treat both like a claim from another machine.
    """
    if who.boot_id != boot_id():
        return False if who.host == os.uname().nodename and reach is Reach.ONE_HOST else None
    is_reachable = reach is Reach.ONE_HOST or _is_in_reach(getattr(who, "uid", None))
    if who.pid_namespace != pid_namespace() or not is_reachable:
        return None
    return started_at(who.pid) == who.pid_started_at and not is_zombie(who.pid)


def _is_in_reach(uid: int | None) -> bool:
    """Whether this process may inspect and end a user's processes. A worker's row does not name its user."""
    return uid is None or uid == os.geteuid() or _reaches_all()


@cache
def _reaches_all() -> bool:
    """Whether this process may do so for every user. Root may lack the right, as in most containers."""
    status = dict(line.split(b":", 1) for line in _read("/proc/self/status").splitlines())
    return int(status.get(b"CapEff", b"0"), 16) & REACH_ALL == REACH_ALL


def children(pid: int) -> list[int]:
    """The direct children of a process, or rather of its main thread, the only one of our workers that starts any."""
    return [int(child) for child in _read(f"/proc/{pid}/task/{pid}/children").split()]


class OwnChildren:
    """The direct children of this process. Reads through one descriptor, because opening the file costs more."""

    def __init__(self) -> None:
        pid = os.getpid()
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)

    def pids(self) -> list[int]:
        """Their pids now, zombies included; none where the system does not list them."""
        if self._file is None:
            return []
        found = part = os.pread(self._file, _PAGE, 0)
        while len(part) > _PAGE - _LONGEST_PID:  # the system fills a page with whole numbers, so there may be more
            part = os.pread(self._file, _PAGE, len(found))
            found += part
        return [int(child) for child in found.split()]


def descendants(pid: int) -> list[int]:
    """All descendants of a process: the children of all its threads, their children, and so on."""
    found, unseen = [], [pid]
    while unseen:
        parent = unseen.pop()
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                unseen += map(int, _read(f"/proc/{parent}/task/{thread}/children").split())
        found.append(parent)
    return found[1:]


def environment(pid: int) -> bytes:
    """The environment that a process was started with: `NAME=value`, separated by NUL; empty when it cannot be read."""
    return _read(f"/proc/{pid}/environ")


def arguments(pid: int) -> list[str]:
    """The words of a process's command line; none when it cannot be read."""
    return _read(f"/proc/{pid}/cmdline").decode(errors="replace").split("\0")[:-1]


def every_process() -> list[int]:
    """All pids in this namespace."""
    with suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def kill(pids: Iterable[int], number: int, meant: Callable[[int], bool] = lambda _: True) -> None:
    """Send a signal to each process that is `meant`. Checks again once a pidfd protects the pid from being reused."""
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
    """Stop inherited descriptors, except the standard streams, from being passed on to processes that we start."""
    for number in _descriptors():
        if number > 2:
            with suppress(OSError):
                os.set_inheritable(number, False)


def _descriptors() -> Iterable[int]:
    """The numbers of the open descriptors; without /proc all numbers that they may have, or the first 65,536."""
    with suppress(OSError):
        return [int(name) for name in os.listdir("/proc/self/fd")]
    allowed = os.sysconf("SC_OPEN_MAX")  # -1: as many as one likes
    return range(min(allowed, _MANY_DESCRIPTORS) if allowed > 0 else _MANY_DESCRIPTORS)


def this_folder() -> int:
    """A descriptor of the working directory, or of / when this process may not enter its own."""
    flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(".", flags)
    except OSError:
        return os.open("/", flags)


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
