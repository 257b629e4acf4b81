"""Pauses claiming while this machine can start no process, each time twice as long, up to 30 s."""

from dataclasses import dataclass

from queuectl.runtime import Clock
from queuectl.units import SECOND

__all__ = ["Shortage"]

SHORTEST, LONGEST = SECOND, 30 * SECOND


@dataclass(slots=True)
class Shortage:
    """A start that fails for want of memory or processes says nothing about the job: others would fail too."""

    clock: Clock
    until: int = 0
    _length: int = 0

    @property
    def lasts(self) -> bool:
        """Whether claiming is paused."""
        return self.until > 0 and self.clock.monotonic() < self.until

    def begin(self) -> None:
        """A job could not be started."""
        if not self.lasts:
            self._length = min(max(SHORTEST, 2 * self._length), LONGEST)
            self.until = self.clock.monotonic() + self._length

    def end(self) -> None:
        """A job was started."""
        self._length = 0
