"""Locks on folders, and syncing a folder or a file by its path."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from queuectl.runtime import pause

__all__ = ["alone_in", "lock_soon", "sync_path"]

EVERY, TRIES = 5_000, 200
"""Microseconds between two attempts to lock a folder, and how many attempts: one second in all."""


def lock_soon(folder: int, sign: Callable[[], object]) -> bool:
    """Wait for the lock on a folder (a descriptor). Returns False when `sign` did not change for a second."""
    seen, left = sign(), TRIES
    while left:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pause(EVERY)
        else:
            return True
        left -= 1
        if not left and (now := sign()) != seen:
            seen, left = now, TRIES
    return False


@contextmanager
def alone_in(path: str) -> Iterator[None]:
    """Lock a folder, so that only one process at a time creates something in it."""
    folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def sync_path(path: str) -> None:
    """Sync the names in a folder, or the contents of a file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
