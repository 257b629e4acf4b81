"""Pauses claiming while this machine can start no process, each time twice as long, up to 30 s."""

from msgspec import Struct

from queuectl.runtime import Clock
from queuectl.units import SECOND

__all__ = ["Shortage"]

SHORTEST, LONGEST = SECOND, 30 * SECOND


class Shortage(Struct):
    """A start that fails because memory or processes have run out is not the job's fault: other starts fail too."""

    clock: Clock
    until: int = 0
    _length: int = 0

    @property
    def lasts(self) -> bool:
        """Whether claiming is paused."""
        return self.until > 0 and self.clock.monotonic() < self.until

    def begin(self) -> None:
        """Call when a job could not be started."""
        if not self.lasts:
            self._length = min(max(SHORTEST, 2 * self._length), LONGEST)
            self.until = self.clock.monotonic() + self._length

    def end(self) -> None:
        """Call when a job was started."""
        self._length = 0
