"""Opens the file that a job reads as its stdin, and computes the digest of its content."""

import os
from stat import S_ISREG

from queuectl.domain.relations import StdinFile
from queuectl.process.protocol import SHORTAGES

__all__ = ["LARGEST", "digest_of", "open_file", "open_unchanged"]

LARGEST = 256 << 20
"""Bytes of the largest file. A worker reads it before it starts the job, and serves no other job meanwhile."""
_PART = 1 << 20
_TAKE_IT = "`edit ID --stdin FILE` or `retry ID --set stdin=FILE` takes it as it is now"


def open_file(path: str) -> int:
    """A descriptor of a regular file. Raises OSError, and ValueError for another kind of file or one too large."""
    # A pipe in its place must not block the worker.
    descriptor = os.open(os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor), path)
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(found: os.stat_result, path: str) -> None:
    if not S_ISREG(found.st_mode):
        raise ValueError(f"stdin: {path} is not a regular file")
    if found.st_size > LARGEST:
        raise ValueError(f"stdin: {path} is larger than {LARGEST >> 20} MiB: write < FILE in the command")


def digest_of(descriptor: int) -> str:
    """The SHA-256 of the file's content in hex. The file is at its beginning before and after. Raises OSError."""
    from hashlib import sha256  # 2.4 ms, and few jobs have a file for their stdin

    found = sha256()
    left = LARGEST + 1  # a file may grow meanwhile
    while left > 0 and (part := os.read(descriptor, min(_PART, left))):
        found.update(part)
        left -= len(part)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return found.hexdigest()


def open_unchanged(file: StdinFile) -> int:
    """A descriptor of the file as it was when its job was added.

    Raises LookupError with the reason and what to do; OSError when this machine is short of descriptors or memory.
    """
    try:
        descriptor = open_file(file.path)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        raise LookupError(f"stdin: cannot read {file.path}: {error.strerror}") from None
    except ValueError as error:
        raise LookupError(str(error)) from None
    try:
        if digest_of(descriptor) == file.sha256:
            return descriptor
    except OSError as error:
        os.close(descriptor)
        raise LookupError(f"stdin: cannot read {file.path}: {error.strerror}") from None
    os.close(descriptor)
    raise LookupError(f"stdin: {file.path} was changed after the job was added: {_TAKE_IT}")
