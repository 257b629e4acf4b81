"""Finds the workers of this machine by their lock files alone, for when their store is out of reach."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress

from queuectl.process.job_lock import lock_file
from queuectl.process.procfs import arguments, environment, every_process

__all__ = ["local_workers"]

_Files = set[tuple[int, int]]


def local_workers(output_folders: Iterable[str], is_meant: Callable[[str], bool]) -> list[int]:
    """The pids that a signal stops workers by: of their supervisors, and of workers that have none.

    They are workers whose output is in one of these folders, as far as this user may see them. One that was started
    with QUEUECTL_DB is left out unless that queue `is_meant`. Processes of jobs have the lock file open too: they are
    known by their environment.
    """
    locks = _identities(map(lock_file, output_folders))
    found = (pid for pid in every_process() if locks and locks & _open_files(pid) and _is_worker(pid, is_meant))
    return sorted({_supervisor(pid) or pid for pid in found})


def _is_worker(pid: int, is_meant: Callable[[str], bool]) -> bool:
    variables = dict(each.partition("=")[::2] for each in environment(pid).decode(errors="replace").split("\0"))
    url = variables.get("QUEUECTL_DB")
    return "QUEUECTL_JOB_ID" not in variables and (not url or is_meant(url))


def _supervisor(pid: int) -> int | None:
    words = arguments(pid)
    with suppress(ValueError, IndexError):
        return int(words[words.index("--supervisor") + 1])
    return None


def _open_files(pid: int) -> _Files:
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):  # it has ended, or belongs to another user
        return _identities(f"{folder}/{number}" for number in os.listdir(folder))
    return set()


def _identities(paths: Iterable[str]) -> _Files:
    found = _Files()
    for path in paths:
        with suppress(OSError):
            stat = os.stat(path)
            found.add((stat.st_dev, stat.st_ino))
    return found
