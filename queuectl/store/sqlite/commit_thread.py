"""Runs a commit in its own thread, so that the caller can do something else while it waits for the disk."""

from _thread import allocate_lock
from collections.abc import Callable
from threading import Thread

from queuectl.runtime import leave_signals_to_main_thread

__all__ = ["CommitThread"]

LOOK_EVERY = 0.000_25
"""Seconds between two calls of `meanwhile`. A sync takes from half a millisecond to many milliseconds."""


class CommitThread:
    """A thread that calls `commit` once for each call of `run`. It is idle between calls and ends with the process."""

    def __init__(self, commit: Callable[[], object]) -> None:
        self._commit = commit
        self._error: BaseException | None = None
        self._asked, self._answered = allocate_lock(), allocate_lock()  # taken while there is nothing to do, or to say
        self._asked.acquire()
        self._answered.acquire()
        Thread(target=self._serve, name="commit", daemon=True).start()

    def run(self, meanwhile: Callable[[], None]) -> None:
        """Commit, and call `meanwhile` again and again until that is done. Raises what either raises."""
        self._asked.release()
        try:
            # Not a queue: in Python 3.11 a signal at the end of the time makes `SimpleQueue.get` wait without end.
            while not self._answered.acquire(timeout=LOOK_EVERY):
                meanwhile()
        except BaseException:
            self._answered.acquire()  # nobody else may use the connection before
            raise
        if self._error is not None:
            raise self._error

    def _serve(self) -> None:
        leave_signals_to_main_thread()
        while True:
            self._asked.acquire()
            try:
                self._commit()
            except BaseException as error:
                self._error = error
            else:
                self._error = None
            self._answered.release()
