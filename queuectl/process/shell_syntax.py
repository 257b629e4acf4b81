"""Asks the shell whether commands are complete, without running them: `sh -n` on many commands at once."""

import os
import re
from collections.abc import Sequence
from typing import IO

from queuectl.errors import QueuectlError

__all__ = ["Refusal", "first_refused", "is_plain"]

SHELL = "/bin/sh"
_HERE_DOCUMENT = "its here-document is not on this line"
_RESERVED = "if|then|elif|else|fi|for|while|until|do|done|case|esac|function|select|time|coproc"
_WORD = r"""[^'"\\`$(){}<>&|;!]"""
_PLAIN = re.compile(
    rf"""(?![ \t]*(?:{_RESERVED})\b)"""
    rf"""(?:{_WORD}+(?!{_WORD})|'[^']*'|"(?:[^"\\`$]|\$\w|\\.)*"|\$\w|\\.)*"""
)
"""No repeated group is possessive: in Python 3.11.2 such a group accepts an open quote.

The time is linear all the same: each alternative begins with other characters, and the first one takes all it can.
"""

Refusal = tuple[int, str]
"""The index of a command, and the shell's message about it."""


def is_plain(command: str) -> bool:
    """Whether a command is simple enough to be certainly complete: words and closed quotes. Does not ask the shell."""
    return _PLAIN.fullmatch(command) is not None


def first_refused(commands: Sequence[str]) -> Refusal | None:
    """The first command that is not complete by itself; None when all are, or when there is no shell.

    Raises QueuectlError when the shell cannot be started.
    """
    if not commands or _passes(commands):
        return None
    low, high = 0, len(commands)  # the first `low` commands pass, the first `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _passes(commands[:middle]) else (low, middle)
    return low, _reason(commands[low])


def _passes(commands: Sequence[str]) -> bool:
    return _errors("".join(map(_enclosed, commands))) is None


def _enclosed(command: str) -> str:
    """The command, placed where only a complete one is valid.

    After a complete command the two lines with `#` are comments. If a quote is open, one of them closes it, and the
    parenthesis after it is an error. So the next command cannot close the quote.
    """
    return f"if (\n{command}\n#')\n#\")\n) then :\nfi\n"


def _reason(command: str) -> str:
    said = _errors(command + "\n") or ""
    found = re.search(r"yntax error:? ?(.+)", said) or re.search(r"(unexpected .+)", said)
    return found[1].strip() if found else _HERE_DOCUMENT


def _errors(script: str) -> str | None:
    """The error output of `sh -n` when it refuses a script; None when it accepts it, or there is no shell."""
    import subprocess

    try:
        with _file_in_memory(script.encode()) as file:
            done = subprocess.run(
                [SHELL, "-n"], stdin=file, capture_output=True, env={"PATH": os.defpath, "LC_ALL": "C"}, check=False
            )
    except (FileNotFoundError, PermissionError):
        return None
    except OSError as error:  # such as too many processes: an incomplete command must not pass unseen
        raise QueuectlError(f"cannot ask {SHELL} whether the commands are complete: {error.strerror}") from error
    return done.stderr.decode(errors="replace") if done.returncode else None


def _file_in_memory(content: bytes) -> IO[bytes]:
    """A file instead of a pipe, which a shell would read byte by byte."""
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("queuectl"), "w+b")
    else:
        import tempfile

        file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    file.write(content)
    file.flush()
    file.seek(0)
    return file
