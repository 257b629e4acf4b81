"""The signals that ask a process to stop, counted as requests: one event may send several signals.

A closed terminal sends SIGHUP twice, `timeout` sends SIGTERM to its child and to the child's group, and a service
manager to every process of the service.
"""

import signal

from msgspec import Struct, field

from queuectl.runtime import Clock
from queuectl.units import SECOND

__all__ = ["SAME_REQUEST", "STOP_NOW", "StopRequests", "StopSignals"]

STOP_NOW = signal.SIGUSR1
"""From a supervisor to its workers: stop running jobs too. A second SIGTERM could arrive too close to the first."""
SAME_REQUEST = SECOND


class StopRequests(Struct):
    """0: none. 1: finish what runs. 2: stop what runs. Moments are microseconds on the monotonic clock."""

    count: int = 0
    _first: int = 0

    def add(self, number: int, now: int) -> None:
        """Count a signal that came at `now`. A second one is a new request one second later, but SIGHUP never is."""
        if number == STOP_NOW:
            self.count = 2
        elif self.count == 0:
            self.count, self._first = 1, now
        elif number != signal.SIGHUP and now - self._first >= SAME_REQUEST:
            self.count = 2


class StopSignals(Struct):
    """Turns the signals to this process into requests to stop."""

    clock: Clock
    _requests: StopRequests = field(default_factory=StopRequests)
    _taken: int = 0

    def install(self) -> None:
        """Receive the signals from now on. A hangup that is ignored (`nohup`) stays ignored."""
        hangup = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
        for number in (signal.SIGTERM, signal.SIGINT, STOP_NOW, *hangup):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: object) -> None:
        # Counted here, not where the wake-up descriptor is read: a busy process reads that long after the signal came.
        self._requests.add(number, self.clock.monotonic())

    def take(self) -> int:
        """How many requests are new since the last call."""
        new, self._taken = self._requests.count - self._taken, self._requests.count
        return new
