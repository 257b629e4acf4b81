"""A pager for text that is longer than the terminal: QUEUECTL_PAGER, else PAGER, else `less`, as git does it."""

import io
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TextIO

from queuectl.cli.messages import say
from queuectl.cli.session import Session

__all__ = ["paged"]

_OPTIONS = {"LESS": "FRX", "LV": "-c"}
"""The options of `less` and `lv` unless the user has set them: short text stays on the screen, colours are kept."""
_VARIABLES = ("QUEUECTL_PAGER", "PAGER")
_NONE = ("", "cat")
USUAL_LINES = 24
"""The lines of a terminal that does not know its size, such as a serial line."""


@contextmanager
def paged(session: Session, *, wanted: bool = True) -> Iterator[None]:
    """Send what is printed meanwhile to the pager once it is longer than the terminal.

    Nothing changes where stdout is no terminal, when not `wanted`, and without a pager (`--no-pager`, an empty
    variable, or `cat`). To leave the pager early is no error.
    """
    pager = _pager(session) if wanted else None
    if pager is None:
        yield
        return
    text = _Text(sys.stdout, pager)
    kept = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = text, text if sys.stderr.isatty() else sys.stderr
    try:
        with suppress(_LeftError):
            yield
    finally:
        sys.stdout, sys.stderr = kept
        text.end()


def _pager(session: Session) -> str | None:
    """The command of the pager. The variables count only in the environment: `.env` may be anyone's."""
    if not session.paging or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return None
    named = next((os.environ[name] for name in _VARIABLES if name in os.environ), None)
    if named is None:
        return "less" if shutil.which("less") else None
    if named.strip() in _NONE:
        return None
    if not _can_run(named):
        say(f"queuectl: the pager {named} is not installed: set PAGER, or give --no-pager")
        return None
    return named


def _can_run(command: str) -> bool:
    """Whether the shell finds the program; a command that is more than words is left to the shell."""
    try:
        words = shlex.split(command)
    except ValueError:
        return True
    return not words or "=" in words[0] or shutil.which(words[0]) is not None


class _LeftError(Exception):
    """The pager has ended before it had read everything."""


class _Text(io.TextIOBase):
    """Keeps what is printed while the terminal has room for it, then starts the pager."""

    def __init__(self, terminal: TextIO, command: str) -> None:
        self._terminal, self._command = terminal, command
        self._size = os.get_terminal_size(terminal.fileno())
        self._kept: list[str] = []
        self._rows = 1  # the prompt that follows
        self._pager: IO[str] | None = None
        self._pid = 0

    def isatty(self) -> bool:
        """True: the text is shown on a terminal."""
        return True

    def fileno(self) -> int:
        """The terminal's descriptor."""
        return self._terminal.fileno()

    def write(self, text: str) -> int:
        """Keep the text or pass it on. Raises _LeftError when the pager has ended."""
        if self._pager is not None:
            self._pass_on(text)
            return len(text)
        self._kept.append(text)
        self._rows += sum(self._height(line) for line in text.split("\n")[:-1])
        if self._rows > (self._size.lines or USUAL_LINES):
            self._start()
        return len(text)

    def _height(self, line: str) -> int:
        """How many lines of the terminal a line takes at most; `less` itself leaves a short text on the screen."""
        columns = len(line) if line.isascii() else 2 * len(line)
        return max(1, -(-columns // max(1, self._size.columns)))

    def _start(self) -> None:
        reader, writer = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, reader, 0), (os.POSIX_SPAWN_CLOSE, writer)]
        environ = {**_OPTIONS, **os.environ}
        self._pid = os.posix_spawn("/bin/sh", ["sh", "-c", self._command], environ, file_actions=actions)
        os.close(reader)
        self._pager = open(writer, "w", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._pass_on("".join(self._kept))
        self._pager.flush()

    def _pass_on(self, text: str) -> None:
        try:
            if self._pager is not None:
                self._pager.write(text)
        except BrokenPipeError:
            raise _LeftError from None

    def end(self) -> None:
        """Print what was kept, or wait until the user leaves the pager. Ctrl-C is for the pager meanwhile."""
        if self._pager is None:
            self._terminal.write("".join(self._kept))
            self._terminal.flush()
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with suppress(BrokenPipeError):
                self._pager.close()
            os.waitpid(self._pid, 0)
        finally:
            signal.signal(signal.SIGINT, before)
