"""An earlier moment of the queue, which a thread reads from the log, and how much of it has been read."""

from threading import Event, Lock, Thread

from queuectl.application.activity import Activity
from queuectl.application.queue import Queue
from queuectl.application.time_travel import Past

__all__ = ["PastMoment", "StillReadingError"]


class StillReadingError(Exception):
    """The moment is being read. `share`: how much of it has been, from 0 to 1."""

    def __init__(self, share: float) -> None:
        super().__init__(share)
        self.share = share


class PastMoment:
    """A moment of the past. `queue` may be used by one thread at a time, which holds `lock`, once it has been read."""

    def __init__(self, past: Past, actor: str) -> None:
        self.position, self.queue, self.lock = past.position, Queue(past, actor), Lock()
        self.error: Exception | None = None
        self._past, self._share, self._is_read = past, 0.0, Event()
        self._activity: Activity | None = None
        Thread(target=self._read, name="past", daemon=True).start()

    def _read(self) -> None:
        try:
            with self.lock:
                self._past.tables.read(self._reached)
        except Exception as error:
            self.error = error
        finally:
            self._is_read.set()

    def _reached(self, share: float) -> None:
        self._share = share

    def wait(self, seconds: float | None) -> None:
        """Wait until it has been read. Raises StillReadingError after that time, and the error of a failed read."""
        if not self._is_read.wait(seconds):
            raise StillReadingError(self._share)
        if self.error is not None:
            raise self.error

    def activity(self, queue: Queue) -> Activity:
        """The hour before it. The caller holds `lock`."""
        if self._activity is None:
            self._activity = Activity()
            self._activity.begin(queue.store, self.position)
        return self._activity
