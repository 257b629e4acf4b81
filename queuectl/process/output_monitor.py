"""Limits the output files of running commands. It is a thread, so that it does not stop when the worker waits.

Ten times a second it names the files of runs that last, and trims files to their limit.
"""

import logging
import threading
from contextlib import suppress

from queuectl.process.output_files import Capture
from queuectl.process.protocol import ShortageError
from queuectl.runtime import leave_signals_to_main_thread, pause

__all__ = ["OutputMonitor"]

INTERVAL = 100_000
"""Microseconds between two rounds. A file can exceed its limit by what is written in that time."""

log = logging.getLogger("queuectl.worker")


class OutputMonitor:
    """Watches the captures that were added. It uses one lock, so that no file is closed while it is in use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captures: set[Capture] = set()
        self._some = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, before there is a run to watch. Raises ShortageError when it cannot be started."""
        if self._thread is None:
            thread = threading.Thread(target=self._watch, name="output monitor", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise ShortageError(str(error)) from error
            self._thread = thread

    def add(self, capture: Capture) -> None:
        """Watch a run's output."""
        with self._lock:
            self._captures.add(capture)
            if not self._some.is_set():
                self._some.set()

    def finish(self, capture: Capture, *, is_over: bool) -> tuple[str, str]:
        """The tails of a run that has ended. Its files stay watched while processes that it left may write to them."""
        with self._lock:
            tails = capture.tails()
            try:
                capture.settle()
            except OSError as error:
                log.warning("job %s: cannot save its output: %s", capture.job_id, error)
            if is_over:
                self._remove(capture)
            return tails

    def remove(self, capture: Capture) -> None:
        """Stop watching a run's output."""
        with self._lock:
            self._remove(capture)

    def _remove(self, capture: Capture) -> None:
        self._captures.remove(capture)

    def _watch(self) -> None:
        leave_signals_to_main_thread()
        while self._some.wait():
            pause(INTERVAL)
            with self._lock:
                for capture in self._captures:
                    _maintain(capture)
                if not self._captures:  # not with each run that ends: the next one begins at once
                    self._some.clear()


def _maintain(capture: Capture) -> None:
    try:
        capture.publish()
        capture.trim()
    except OSError as error:
        if capture.warned:
            return  # logging again would fill the log: a full disk stays full
        capture.warned = True
        with suppress(ValueError):
            log.warning("job %s: cannot name or trim its output files: %s", capture.job_id, error)
