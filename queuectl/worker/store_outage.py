"""The wait for a store that cannot be reached or is kept locked: told once when it lasts, and once when it is over."""

import logging
from dataclasses import dataclass

__all__ = ["Patience"]

TOLD_AFTER = 5_000_000
"""Microseconds: shorter waits are everyday, others write too."""

log = logging.getLogger("queuectl.worker.loop")


@dataclass(slots=True)
class Patience:
    """Of one worker. Moments are microseconds on its monotonic clock."""

    _since: int | None = None
    _told: bool = False

    def wait(self, why: Exception, now: int) -> None:
        """Once more the store was not to be had."""
        log.debug("%s", why)
        if self._since is None:
            self._since = now
        if not self._told and now - self._since >= TOLD_AFTER:
            self._told = True
            log.warning("waiting for the store for %d s now, what runs goes on: %s", TOLD_AFTER // 1_000_000, why)

    def over(self, now: int) -> None:
        """It was to be had."""
        if self._told and self._since is not None:
            log.info("the store is there again after %d s", (now - self._since) // 1_000_000)
        self._since, self._told = None, False
