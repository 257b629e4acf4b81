"""The note that `enqueue` does not read the input that its caller gave it. It looks at stdin, and reads nothing."""

import os

from queuectl.cli.messages import say

__all__ = ["note_given"]


def note_given(*, is_pipe: bool) -> None:
    """Say that stdin, a pipe or a regular file, is not read, if it holds bytes meant for this process. Raises OSError.

    They are not when a `while read` loop, or a script that was given input, runs this process.
    """
    if _is_given_pipe() if is_pipe else _is_unread_file():
        say("stdin is not read, because a job runs later: --stdin FILE gives it a file, --file - adds jobs")


def _is_unread_file() -> bool:
    """Whether nothing has been read of it. A loop has read a line; `sh` may itself have the file for a moment."""
    return os.lseek(0, 0, os.SEEK_CUR) == 0 and os.fstat(0).st_size > 0


def _is_given_pipe() -> bool:
    """Whether a pipe holds bytes, and is not the parent's stdin too, as in a loop."""
    from select import POLLIN, poll

    waiting = poll()
    waiting.register(0, POLLIN)
    return any(event & POLLIN for _, event in waiting.poll(0)) and not _is_of_parent()


def _is_of_parent() -> bool:
    """Whether the parent has the same stdin; False where that cannot be seen."""
    try:
        return os.path.samestat(os.stat(f"/proc/{os.getppid()}/fd/0"), os.fstat(0))
    except OSError:
        return False
