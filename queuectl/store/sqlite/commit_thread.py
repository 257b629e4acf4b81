"""Runs a commit in its own thread, so that the caller can do something else while it waits for the disk."""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

__all__ = ["CommitThread"]

LOOK_EVERY = 0.000_25
"""Seconds between two calls of `meanwhile`. A sync takes from half a millisecond to many milliseconds."""


class CommitThread:
    """A thread that calls `commit` once for each call of `run`. It is idle between calls and ends with the process."""

    def __init__(self, commit: Callable[[], object]) -> None:
        self._commit = commit
        self._asked = SimpleQueue[None]()
        self._answers = SimpleQueue[BaseException | None]()
        Thread(target=self._serve, name="commit", daemon=True).start()

    def run(self, meanwhile: Callable[[], None]) -> None:
        """Commit, and call `meanwhile` again and again until the commit is done. Raises the error of either."""
        self._asked.put(None)
        try:
            while True:
                with suppress(Empty):
                    error = self._answers.get(timeout=LOOK_EVERY)
                    break
                meanwhile()
        except BaseException:
            self._answers.get()  # nobody else may use the connection before the commit is over
            raise
        if error is not None:
            raise error

    def _serve(self) -> None:
        while True:
            self._asked.get()
            try:
                self._commit()
            except BaseException as error:
                self._answers.put(error)
            else:
                self._answers.put(None)
