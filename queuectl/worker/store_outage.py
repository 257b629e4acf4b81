"""Tracks how long the store has been busy or out of reach; logs once when that lasts, and once when it is over."""

from msgspec import Struct

from queuectl.units import SECOND, format_duration, rounded_duration
from queuectl.worker.log import log

__all__ = ["RETRY_BUSY_AFTER", "RETRY_FAILED_AFTER", "StoreOutage"]

RETRY_BUSY_AFTER, RETRY_FAILED_AFTER = 20_000, 200_000
"""Microseconds until a worker uses a store again that was busy, or that could not be used."""

LOGGED_AFTER = 5 * SECOND
"""Shorter waits are normal: other processes write too."""


class StoreOutage(Struct):
    """One worker's view. Moments are microseconds on its monotonic clock."""

    _since: int | None = None
    _logged: bool = False

    def failed(self, why: Exception, now: int) -> int:
        """Call when the store could not be used. Returns the microseconds since it could be."""
        log.debug("%s", why)
        if self._since is None:
            self._since = now
        if not self._logged and now - self._since >= LOGGED_AFTER:
            self._logged = True
            so_far = format_duration(LOGGED_AFTER)
            log.warning("Waiting for the store, for %s so far; running jobs continue: %s", so_far, why)
        return now - self._since

    def ended(self, now: int) -> None:
        """Call when the store could be used."""
        if self._logged and self._since is not None:
            log.info("The store can be used again after %s", rounded_duration(now - self._since))
        self._since, self._logged = None, False
