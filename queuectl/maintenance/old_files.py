"""Locks the files of a damaged database against all other users, and saves a copy of them.

It uses `open()`, which is safe only when this process has no connection to the database (store/sqlite/connection.py).
"""

import fcntl
import os
import re
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

from queuectl.errors import StoreError, command_line
from queuectl.store.archive.folder_lock import sync_path

__all__ = ["SUFFIXES", "copies_and_size", "locked_exclusively", "saved_copy", "users"]

SUFFIXES = ("", "-wal", "-shm", ".recovered")
_NAME = re.compile("[0-9a-f]{12}")

_FLOCK = struct.Struct("hhqqi4x")
_LOCKED_FROM, _LOCKED = 1 << 30, 512
"""The bytes that SQLite locks: each process that has the database open holds a shared lock on some of them."""


@contextmanager
def locked_exclusively(path: str) -> Iterator[None]:
    """Lock the database exclusively. Raises StoreError naming current users; later openers wait and get the new file.

    On systems without open file description locks, some users may not be noticed.
    """
    if found := users(path):
        ways = f"`{command_line('worker', 'stop')}`, or `kill {' '.join(found)}`"
        raise StoreError(f"{path} is open in {', '.join(found.values())}: stop that first ({ways})")
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):  # there is no file, or we may not write to it: nothing to lock
        yield
        return
    try:
        _lock(file, path)
        yield
    finally:
        os.close(file)


def _lock(file: int, path: str) -> None:
    """An open file description lock: it survives opening and closing the file again for the copy."""
    if not hasattr(fcntl, "F_OFD_SETLK"):
        return
    try:
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _LOCKED_FROM, _LOCKED, 0)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, wanted)
    except BlockingIOError:
        raise StoreError(
            f"{path} is open in another process: stop that first (`{command_line('worker', 'stop')}`)"
        ) from None


def users(path: str) -> dict[str, str]:
    """The processes of this machine that have the database open: the pids, each with its name for messages."""
    wanted = {(found.st_dev, found.st_ino) for suffix in SUFFIXES[:3] if (found := _stat(path + suffix))}
    pids = os.listdir("/proc") if os.path.isdir("/proc") else []
    return {pid: _name(pid) for pid in pids if pid.isdigit() and wanted & _open_files(pid)}


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _open_files(pid: str) -> set[tuple[int, int]]:
    try:
        found = [_stat(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return set()  # the process has ended, or belongs to another user
    return {(each.st_dev, each.st_ino) for each in found if each}


def _name(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"{file.read().strip()} (pid {pid})"
    except OSError:
        return f"pid {pid}"


@contextmanager
def saved_copy(path: str) -> Iterator[str | None]:
    """A folder with a copy of the database's files, named after their content; None when there are no files.

    The same content is stored once. When the block raises StoreError, a copy that was new is removed.
    """
    names = [path + suffix for suffix in SUFFIXES if os.path.exists(path + suffix)]
    folder = f"{path}.damaged-{_digest(names)}" if names else None
    is_new = folder is not None and not os.path.isdir(folder)
    if folder is not None and is_new:
        _copy(names, folder)
    try:
        yield folder
    except StoreError:  # nothing to recover, or not with this version of queuectl
        if folder is not None and is_new:
            shutil.rmtree(folder)
        raise


def _copy(names: Sequence[str], folder: str) -> None:
    part = f"{folder}.part"
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part, mode=0o700)
    try:
        for name in names:
            shutil.copy2(name, part)
            sync_path(os.path.join(part, os.path.basename(name)))
    except OSError:
        shutil.rmtree(part)  # free the space again: the disk may be full
        raise
    os.rename(part, folder)


def _digest(names: Sequence[str]) -> str:
    total = sha256()
    for name in names:
        if not name.endswith("-shm"):
            with open(name, "rb") as file:
                while part := file.read(1 << 20):
                    total.update(part)
    return total.hexdigest()[:12]


def copies_and_size(path: str) -> tuple[int, int]:
    """How many copies of the database's files there are, and the bytes in them."""
    place, name = os.path.split(f"{path}.damaged-")
    found = [each for each in os.scandir(place) if each.name.startswith(name) and each.is_dir(follow_symlinks=False)]
    copies = [each for each in found if _NAME.fullmatch(each.name.removeprefix(name))]
    return len(copies), sum(file.stat().st_size for copy in copies for file in os.scandir(copy))
