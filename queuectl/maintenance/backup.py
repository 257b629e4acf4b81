"""Backups: a copy of the whole queue, which is checked before it gets its final name."""

import os
from collections.abc import Callable
from contextlib import suppress

from queuectl.errors import StoreError, UsageError, reason_of
from queuectl.maintenance.chain import Progress, chained
from queuectl.maintenance.export import publish
from queuectl.store.protocol import Store
from queuectl.store.rows import Head

__all__ = ["back_up"]


def back_up(store: Store, path: str, opened: Callable[[str], Store], progress: Progress) -> Head:
    """Copy the queue to a new file while workers run, check every event of the copy, then name it. Returns its head.

    `opened` opens the copy. Raises UsageError when the name is taken, DamagedEventError when the log is damaged.
    """
    if os.path.lexists(path):
        raise UsageError(f"{path} exists: it is not overwritten, choose another name")
    if not os.path.isdir(folder := os.path.dirname(path) or "."):
        raise UsageError(f"there is no folder {folder}: make it first")
    part = os.path.abspath(f"{path}.part-{os.getpid()}")
    try:
        store.upkeep.copy_to(part)
        head = _checked(opened(part), progress)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        publish(part, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {reason_of(error)}") from error
    except StoreError as error:
        if (why := str(error).removeprefix(f"cannot use the queue {part}: ")) == str(error):
            raise
        raise UsageError(f"cannot write {path}: {why}") from error
    finally:
        for name in (part, f"{part}-wal", f"{part}-shm", f"{part}-journal"):
            with suppress(OSError):  # fails on a read-only disk and would hide the first error
                os.unlink(name)
    return head


def _checked(copy: Store, progress: Progress) -> Head:
    try:
        head = copy.log.base
        for row in chained(copy.log.stored(), copy.log.base):
            head = Head(row.position, row.digest, row.recorded_at)
            progress(row.position)
        return head
    finally:
        copy.close()
