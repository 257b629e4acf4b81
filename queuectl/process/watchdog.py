"""What ends a worker's commands when the worker hears no more from a store that other machines share.

Another machine may start a job again once its lease is over, and cannot see whether it still runs here. So its
processes have to be dead by then, also when the worker's own thread hangs in a call to the store: this is a thread.
"""

import threading
from collections.abc import Callable
from contextlib import suppress

from queuectl.errors import StoreBusyError
from queuectl.runtime import Clock

__all__ = ["Lifeline"]


class Lifeline:
    """Calls `cut` when it was not held for too long: again and again, until it is held once more."""

    AGAIN = 1_000_000
    """Microseconds between two calls: for what was forked meanwhile."""

    def __init__(self, clock: Clock, cut: Callable[[], None]) -> None:
        self._clock, self._cut = clock, cut
        self._changed = threading.Condition()
        self._moment = 0
        self._thread: threading.Thread | None = None

    def hold_until(self, moment: int) -> None:
        """Hold on until a moment of the monotonic clock (microseconds).

        Raises StoreBusyError where no thread can be had: nothing can be claimed without one.
        """
        with self._changed:
            self._moment = moment
            self._changed.notify()
        if self._thread is None:
            thread = threading.Thread(target=self._wait, name="lifeline", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise StoreBusyError(f"nothing could end the jobs of this worker if it hung: {error}") from error
            self._thread = thread

    def _wait(self) -> None:
        while True:
            with self._changed:
                left = self._moment - self._clock.monotonic()
                if left > 0:
                    self._changed.wait(left / 1_000_000)
                    continue
                self._moment = self._clock.monotonic() + self.AGAIN
            try:
                self._cut()
            except Exception:  # it has to go on: nothing else ends what still runs
                _tell()


def _tell() -> None:
    import logging

    with suppress(Exception):
        logging.getLogger("queuectl.worker.loop").exception("the commands could not be ended: trying again")
