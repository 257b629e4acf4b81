"""A program on a terminal of a given size: what it draws, the keys that are typed, and a window that changes size."""

import os
import pty
import re
import select
import signal
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

__all__ = ["PseudoTerminal"]

_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")


class PseudoTerminal:
    """A program that runs on a terminal with so many columns and lines; it is killed at the end."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        size: tuple[int, int] = (80, 24),
        stdin: Path | None = None,
    ) -> None:
        self.raw = b""
        self._code: int | None = None
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            self._become(command, folder, env, size, stdin)
        self.resize(*size)

    @staticmethod
    def _become(
        command: Sequence[str], folder: Path, env: Mapping[str, str], size: tuple[int, int], stdin: Path | None
    ) -> None:
        try:
            termios.tcsetwinsize(1, (size[1], size[0]))
            if stdin is not None:
                os.dup2(os.open(stdin, os.O_RDONLY), 0)
            os.chdir(folder)
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(command[0], list(command), {"TERM": "xterm", **env})
        finally:
            os._exit(127)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._code is None:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    @property
    def text(self) -> str:
        """Everything drawn so far, without terminal sequences, lines ended by newlines."""
        return _SEQUENCES.sub("", self.raw.decode("utf-8", "replace")).replace("\r\n", "\n").replace("\r", "")

    def type(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._fd, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the window."""
        termios.tcsetwinsize(self._fd, (lines, columns))

    def forget(self) -> None:
        """Forget everything drawn so far."""
        self.raw = b""

    def until(self, word: str, seconds: float = 20) -> str:
        """Read until this text has been drawn; return everything drawn. Fails after so many seconds."""
        deadline = time.monotonic() + seconds
        while word not in self.text:
            assert self._read(deadline - time.monotonic()), f"{word!r} was not drawn: {self.text!r}"
        return self.text

    def ended(self, seconds: float = 20) -> int:
        """Read until the program has ended; return its exit code, negative for a signal."""
        deadline = time.monotonic() + seconds
        while self._read(deadline - time.monotonic()):
            pass
        assert time.monotonic() < deadline, f"still running: {self.text!r}"
        self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def _read(self, seconds: float) -> bool:
        """Read what is there. Returns False at the end, and when nothing comes in time."""
        if seconds <= 0 or not select.select([self._fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the last process has closed the terminal
            return False
        self.raw += data
        return bool(data)
