"""The watch over the output of running commands: a thread, because it must not wait when its worker does.

Ten times a second it gives the files of a run that lasts their names, and holds them to their limit.
"""

import logging
import threading
from contextlib import suppress

from queuectl.process.output_files import Capture
from queuectl.process.protocol import ShortageError

__all__ = ["OutputWatch"]

INTERVAL = 0.1
"""Seconds between two looks: what is written in one is what a file may exceed its limit by."""

log = logging.getLogger("queuectl.worker.loop")


class OutputWatch:
    """Watches once it was begun. One lock, so that no file is closed while it is being looked at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captures: list[Capture] = []
        self._some = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Be there, before there is a run to watch. Raises ShortageError where no thread can be had."""
        if self._thread is None:
            thread = threading.Thread(target=self._look, name="output watch", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise ShortageError(str(error)) from error
            self._thread = thread

    def add(self, capture: Capture) -> None:
        """Watch a run's output."""
        with self._lock:
            self._captures.append(capture)
        self._some.set()

    def finish(self, capture: Capture) -> tuple[str, str]:
        """The tails of a run that has ended; its files are watched on, for what its processes still write to them."""
        with self._lock:
            tails = capture.tails()
            try:
                capture.settle()
            except OSError as error:
                log.warning("job %s: its output cannot be kept: %s", capture.job_id, error)
            return tails

    def remove(self, capture: Capture) -> None:
        """Watch it no more."""
        with self._lock:
            self._captures.remove(capture)
            if not self._captures:
                self._some.clear()

    def _look(self) -> None:
        while self._some.wait():
            threading.Event().wait(INTERVAL)
            with self._lock:
                for capture in self._captures:
                    _tend(capture)


def _tend(capture: Capture) -> None:
    try:
        capture.publish()
        capture.hold_to_limit()
    except OSError as error:
        if capture.lamented:
            return  # said once: on a full disk it would be said ten times a second
        capture.lamented = True
        with suppress(ValueError):
            log.warning("job %s: its output cannot be looked after: %s", capture.job_id, error)
