"""Folders as locks, and seeing what has a path written to the disk."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from queuectl.runtime import pause

__all__ = ["alone_in", "lock_soon", "sync_path"]

EVERY, TRIES = 5_000, 200
"""Microseconds between two tries to lock a folder, and how many: a second in all."""


def lock_soon(folder: int, sign: Callable[[], object]) -> bool:
    """Lock a folder, by its descriptor; False when whoever holds it is stuck: a second long its `sign` was the same."""
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
    """One process at a time looks at a folder and makes something there."""
    folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def sync_path(path: str) -> None:
    """Bring a folder's names, or what is in a file, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
