"""Whether one worker ends: because it was asked to stop, or because something failed."""

from sys import maxsize

from msgspec import Struct

from queuectl.errors import QueuectlError, RefusedError, StoreError
from queuectl.worker.log import log, stopping_line

__all__ = ["NEVER", "Ending"]

NEVER = maxsize


class Ending(Struct):
    """From `asked` or `failure` on, the worker claims no more jobs. Moments are microseconds on the monotonic clock.

    `asked`: how often it was asked to stop; the second time ends running jobs. `failure`: the error that it ends with.
    `hurry_at`: from then on running jobs are ended without delay. `timeout`: microseconds from the first `ask` to then.
    """

    timeout: int | None = None
    asked: int = 0
    failure: QueuectlError | None = None
    hurry_at: int = NEVER
    _store_failed_at: int | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the worker claims and starts no more jobs."""
        return self.asked > 0 or self.failure is not None

    def ask(self, now: int, running: int) -> None:
        """Call when the worker is asked to stop, while it runs that many jobs."""
        self.asked += 1
        if self.asked == 1:
            log.info("%s", stopping_line(running, self.timeout))
            if self.timeout is not None:
                self.hurry_at = now + self.timeout

    def lose_name(self, name: str, running: int) -> None:
        """Call when another worker has this worker's name: running jobs have only until our lease is over."""
        if self.failure is None:
            why = "was silent for so long that another worker took its name"
            self._fail(RefusedError(f"worker {name} {why}: give each worker its own --name"), running)

    def lose_store(self, error: StoreError, now: int, running: int) -> int:
        """Call when the store has failed. Returns for how long it has, or for how long no job has run since then."""
        if self._store_failed_at is None:
            self._fail(error, running)
        if self._store_failed_at is None or running:
            self._store_failed_at = now
        self.failure = error
        return now - self._store_failed_at

    def _fail(self, why: QueuectlError, running: int) -> None:
        self.failure = why
        log.error("%s; claiming no more jobs, %d running", why, running)
