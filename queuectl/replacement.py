"""Replaces a file in one step, so that nobody ever reads half of it."""

import os
from contextlib import suppress

__all__ = ["replace_file"]


def replace_file(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a new file next to `path`, sync it, and give it that name; `mode` are its permissions.

    Links are followed. Raises OSError; then the old file is as it was, and no other file is left.
    """
    target = os.path.realpath(path)
    fresh = f"{target}.{os.getpid()}"
    with suppress(FileNotFoundError):
        os.unlink(fresh)  # a process that was killed left it
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(fresh)
        raise
