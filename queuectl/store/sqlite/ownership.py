"""Checks the owner of a queue's files. Whoever can write to a queue can make its workers run any command as their user.

So a queue that belongs to another user is only read, whatever its mode is. This also holds for root, whose workers
would run that user's commands as root. A folder that root owns counts as everyone's: /tmp, for example.
"""

import os
from contextlib import suppress
from shlex import quote

from queuectl.store.archive.segments import folder_of

__all__ = [
    "foreign",
    "is_mounted_read_only",
    "nearest_folder",
    "owned_by_another",
    "read_only_because",
    "unreadable",
    "user_name",
]

ROOT = 0


def foreign(path: str) -> str | None:
    """Why the queue at `path` is another user's, or could be replaced by one; None when it is this user's own."""
    me = os.geteuid()
    for name in (path, f"{path}-wal", f"{path}-shm", folder_of(path), f"{path}.output", os.path.dirname(path)):
        with suppress(OSError):
            owner = os.stat(name).st_uid
            if owner != me and not (owner == ROOT and name == os.path.dirname(path)):
                return _refusal(name, owner)
    return None


def unreadable(path: str) -> str | None:
    """Why this user may not read the queue at `path`, and how to; None when it may, or when there is no queue."""
    for name in _from_the_root(path):
        needed = os.R_OK if name == path else os.X_OK
        if os.path.exists(name) and not os.access(name, needed):
            owner = os.stat(name).st_uid
            remedy = (
                f"chmod u+rwX {quote(name)}" if owner == os.geteuid() else f"sudo -u '{user_name(owner)}' queuectl …"
            )
            return (
                f"cannot read the queue {path}: {name} belongs to {user_name(owner)}, and you may not read it: {remedy}"
            )
    return None


def _from_the_root(path: str) -> list[str]:
    """An absolute path and the folders above it, the root first."""
    return [path] if path == "/" else [*_from_the_root(os.path.dirname(path)), path]


def read_only_because(path: str) -> str:
    """Why the queue at `path` cannot be changed, and how to change that."""
    folder = os.path.dirname(path)
    if is_mounted_read_only(folder):
        return f"it is on a read-only file system (findmnt -T {quote(folder)})"
    for name in (path, f"{path}-wal", f"{path}-shm", folder):
        if os.path.exists(name) and not os.access(name, os.W_OK):
            return f"it is read-only: chmod u+w {quote(name)}"
    return "it is read-only"


def is_mounted_read_only(folder: str) -> bool:
    """Whether the folder's file system is mounted read-only. An error counts as no."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def owned_by_another(path: str) -> str:
    """The first existing folder above a path, when it is another user's, and how to get it back; else nothing."""
    folder = nearest_folder(path)
    owner = os.stat(folder).st_uid
    if owner == os.geteuid():
        return ""
    me = user_name(os.geteuid())
    return f": {folder} belongs to {user_name(owner)} (made with sudo? sudo chown -R {me} {quote(folder)})"


def nearest_folder(path: str) -> str:
    """The first folder above an absolute path that exists."""
    folder = os.path.dirname(path)
    while not os.path.exists(folder) and folder != "/":
        folder = os.path.dirname(folder)
    return folder


def user_name(uid: int) -> str:
    """The user's name, `#1001` for one without a name: both as `sudo -u` takes them."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _refusal(name: str, owner: int) -> str:
    who = user_name(owner)
    return (
        f"{name} belongs to another user ({who}): the queue is only read, because who can write to it could have its"
        f" workers run anything: change it as that user (`sudo -u '{who}' queuectl …`)"
    )
