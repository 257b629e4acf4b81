"""Verifies the queue now and then while someone looks at its page: `verify` in a process of low priority."""

import os
from collections.abc import Sequence
from contextlib import suppress
from subprocess import DEVNULL, PIPE, Popen
from threading import Lock, Thread

import msgspec

from queuectl.runtime import Clock
from queuectl.units import MINUTE

__all__ = ["Verification", "Verified"]

PAUSE = 10 * MINUTE
"""Microseconds at least between the end of one check and the begin of the next."""
SHARE = 30
"""The pause is at least this many times as long as the check took."""
LOWEST_PRIORITY = 19


class Verified(msgspec.Struct, frozen=True):
    """The outcome of a check: when it ended (microseconds), the log's last position then, and what is damaged."""

    at: int
    position: int
    problems: int


class _Head(msgspec.Struct):
    position: int


class _Report(msgspec.Struct):
    """The parts of `verify --json` that are shown."""

    head: _Head
    problems: dict[str, int]


class Verification:
    """Checks one queue again and again, as long as `look` is called. `command` is that of `verify --json`."""

    def __init__(self, command: Sequence[str], clock: Clock) -> None:
        self.last: Verified | None = None
        self._command, self._clock = command, clock
        self._lock = Lock()
        self._child: Popen[bytes] | None = None
        self._due_at, self._runs, self._is_over = 0, False, False

    def look(self) -> Verified | None:
        """The outcome of the last check, None before the first has ended. Starts the next one when it is time."""
        with self._lock:
            if not (self._runs or self._is_over) and self._clock.monotonic() >= self._due_at:
                self._runs = True
                Thread(target=self._check, name="verify", daemon=True).start()
        return self.last

    def end(self) -> None:
        """Start no more checks, and end the one that runs."""
        with self._lock:
            self._is_over = True
            if self._child is not None:
                self._child.terminate()

    def _check(self) -> None:
        began = self._clock.monotonic()
        try:
            self.last = self._outcome() or self.last
        finally:
            now = self._clock.monotonic()
            with self._lock:
                self._child, self._runs = None, False
                self._due_at = now + max(PAUSE, SHARE * (now - began))

    def _outcome(self) -> Verified | None:
        """None when the queue could not be verified; the next check comes all the same."""
        with suppress(OSError, msgspec.MsgspecError):
            report = msgspec.json.decode(self._printed(), type=_Report)
            return Verified(self._clock.now(), report.head.position, sum(report.problems.values()))
        return None

    def _printed(self) -> bytes:
        with Popen(self._command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL) as child:
            with self._lock:
                self._child = child
                if self._is_over:
                    child.terminate()
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, child.pid, LOWEST_PRIORITY)
            return child.communicate()[0]
