"""Tracks how long the store has been busy or out of reach; logs it now and then while it lasts, and when it is over."""

from sys import maxsize

from msgspec import Struct

from queuectl.units import SECOND, rounded_duration
from queuectl.worker.log import log

__all__ = ["RETRY_BUSY_AFTER", "RETRY_FAILED_AFTER", "StoreOutage"]

RETRY_BUSY_AFTER, RETRY_FAILED_AFTER = 20_000, 200_000
"""Microseconds until a worker uses a store again that was busy, or that could not be used."""

LOGGED_AFTER = 5 * SECOND
"""Shorter waits are normal: other processes write too."""

LOGGED_EVERY = 300 * SECOND
"""How often the log repeats that the outage lasts: whoever reads only its end has to see it too."""


class StoreOutage(Struct):
    """One worker's view. Moments are microseconds on its monotonic clock."""

    _since: int | None = None
    _next_log: int = maxsize

    def failed(self, why: Exception, now: int) -> int:
        """Call when the store could not be used. Returns the microseconds since it could be."""
        log.debug("%s", why)
        if self._since is None:
            self._since, self._next_log = now, now + LOGGED_AFTER
        lasts = now - self._since
        if now >= self._next_log:
            self._next_log = now + LOGGED_EVERY
            _log(why, lasts)
        return lasts

    def ended(self, now: int) -> None:
        """Call when the store could be used."""
        if self._since is not None and self._next_log > self._since + LOGGED_AFTER:
            log.info("The store can be used again after %s", rounded_duration(now - self._since))
        self._since, self._next_log = None, maxsize


def _log(why: Exception, lasts: int) -> None:
    so_far = rounded_duration(lasts)
    if lasts < LOGGED_EVERY:
        log.warning("Waiting for the store, for %s so far; running jobs continue: %s", so_far, why)
    else:
        log.warning("Still waiting for the store, for %s so far; no job starts until it is back: %s", so_far, why)
