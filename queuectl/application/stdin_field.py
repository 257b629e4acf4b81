"""The file that a job reads as its stdin, as a new job names it. Loaded only when a job names one."""

import os

from queuectl.application import job_fields as fields
from queuectl.domain.relations import StdinFile
from queuectl.errors import UsageError
from queuectl.process.stdin_file import digest_of, open_file

__all__ = ["file_to_read"]

_LATER = "a job runs later and reads a file by its path: save the input to a file first, and give that"


def file_to_read(given: str) -> StdinFile | None:
    """The file by its absolute path, with the digest of its content; None for `/dev/null`. Raises UsageError."""
    if fields.name("stdin", given) == "-":
        raise UsageError(f"stdin: - is refused: {_LATER}")
    if given == os.devnull:
        return None
    if os.path.exists(given) and not os.path.isfile(given):
        raise UsageError(f"stdin: {given} is not a regular file: {_LATER}")
    path = _absolute(given)
    try:
        descriptor = open_file(path)
    except OSError as error:
        raise UsageError(f"stdin: cannot read {given}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    try:
        return StdinFile(path, digest_of(descriptor))
    except OSError as error:
        raise UsageError(f"stdin: cannot read {given}: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _absolute(given: str) -> str:
    """The absolute path; behind `/dev/stdin` and `/proc` that of the real file, because a worker has other ones."""
    try:
        path = os.path.abspath(given)
    except OSError:
        raise UsageError("stdin: the current folder was deleted: give an absolute path") from None
    return fields.text("stdin", os.path.realpath(path)) if path.startswith(("/dev/", "/proc/")) else path
