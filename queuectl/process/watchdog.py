"""Ends a worker's commands when the worker cannot reach a store that it shares with other machines.

Another machine may start a job again once its lease is over, and cannot see whether it still runs here. So its
processes must be dead by then, even if the worker's main thread hangs in a call to the store. That is why this is a
thread.
"""

import threading
from collections.abc import Callable
from contextlib import suppress

from queuectl.errors import StoreBusyError
from queuectl.runtime import Clock, leave_signals_to_main_thread

__all__ = ["LeaseWatchdog"]


class LeaseWatchdog:
    """Calls `kill` when the lease is not extended in time, and then every second until it is."""

    AGAIN = 1_000_000
    """Microseconds between two calls. The commands may have forked meanwhile."""

    def __init__(self, clock: Clock, kill: Callable[[], None]) -> None:
        self._clock, self._kill = clock, kill
        self._changed = threading.Condition()
        self._moment = 0
        self._thread: threading.Thread | None = None

    def extend_to(self, moment: int) -> None:
        """Do not kill before this moment of the monotonic clock (microseconds).

        Raises StoreBusyError when the thread cannot be started: without it no job may be claimed.
        """
        with self._changed:
            self._moment = moment
            self._changed.notify()
        if self._thread is None:
            thread = threading.Thread(target=self._watch, name="lease watchdog", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise StoreBusyError(f"cannot start the lease watchdog thread: {error}") from error
            self._thread = thread

    def _watch(self) -> None:
        leave_signals_to_main_thread()
        while True:
            with self._changed:
                left = self._moment - self._clock.monotonic()
                if left > 0:
                    self._changed.wait(left / 1_000_000)
                    continue
                self._moment = self._clock.monotonic() + self.AGAIN
            try:
                self._kill()
            except Exception:  # keep trying: nothing else ends these commands
                _report()


def _report() -> None:
    import logging

    with suppress(Exception):
        logging.getLogger("queuectl.worker").exception("cannot kill the commands: trying again")
