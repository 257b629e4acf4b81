"""The clock, ids and random numbers. No other file reads the time or draws a random number; tests pass their own."""

import os
import time
from _thread import allocate_lock  # `threading` would be one more module to load
from enum import Enum
from functools import cache
from typing import Protocol

__all__ = [
    "Clock",
    "LogClock",
    "Reach",
    "SystemClock",
    "boot_id",
    "caller_umask",
    "leave_signals_to_main_thread",
    "new_id",
    "pause",
    "process_umask",
    "random_factor",
]


class Clock(Protocol):
    """Two clocks, both in microseconds."""

    def now(self) -> int:
        """The wall clock, since the epoch, UTC. It can be set; use it for due times and for display."""

    def monotonic(self) -> int:
        """A clock that is never set and is the same for every process of this boot; use it for leases and timeouts."""


class SystemClock:
    """This machine's clocks."""

    def now(self) -> int:
        """See Clock."""
        return time.time_ns() // 1000

    def monotonic(self) -> int:
        """See Clock."""
        return time.monotonic_ns() // 1000


SET_BACK = 1_000_000
"""The wall clock counts as set back when it loses this much on the monotonic one; time servers slow it a little."""


class Reach(Enum):
    """The hosts whose workers share a queue. It decides who may be judged dead from here.

    ONE_HOST: a process that does not run on this host is dead. SEVERAL_HOSTS: it may run on another one, perhaps of the
    same name, where we can neither find nor end it; only a lease without a heartbeat shows that it is dead.
    """

    ONE_HOST = "one host"
    SEVERAL_HOSTS = "several hosts"


class LogClock:
    """The two clocks of a log: the time of its events never goes back, the wall clock can be set back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = 0
        self._behind_since: int | None = None

    def wall(self) -> int:
        """The wall clock, which decides whether a job is due."""
        return self._clock.now()

    def now(self, last_recorded: int) -> int:
        """The time of the next event: the wall clock, but not before the last event."""
        return max(self._clock.now(), last_recorded)

    def both(self, last_recorded: int) -> tuple[int, int]:
        """The wall clock, and the time of the next event, from one reading."""
        wall = self._clock.now()
        return wall, max(wall, last_recorded)

    def behind_for(self, last_recorded: int) -> int | None:
        """How long the wall clock has been behind the log since it was last set back; None if it is not behind."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if now >= last_recorded:
            self._behind_since = None
            return None
        if self._behind_since is None or now - monotonic < self._offset - SET_BACK:
            self._behind_since = monotonic
        self._offset = now - monotonic
        return monotonic - self._behind_since


@cache
def boot_id() -> str:
    """The id of this boot of the machine; empty where the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


@cache
def caller_umask() -> int:
    """The umask that this process was started with. The first call makes files of this process private (0600)."""
    return os.umask(0o077)


def process_umask() -> int:
    """The umask of this process, without changing it if possible: other threads may create files meanwhile."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration):  # not Linux: it can only be read by setting another, so set a narrow one
        found = os.umask(0o077)
        os.umask(found)
        return found


class AscendingNumbers:
    """The milliseconds and 74 random bits of UUIDv7 ids. Within a process each is greater than the one before.

    In a new millisecond the bits are random; in the same one, or an earlier one after the clock was set back, the
    last number grows by a random step (RFC 9562, 6.2, method 2). So the ids of many jobs that are added at once come
    in the order of the jobs, and each is stored next to the one before.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin with a random number: a forked child must not repeat its parent's."""
        self._last, self._steps, self._lock = 0, iter(_random_steps(0)), allocate_lock()

    def next(self, now: int) -> int:
        """The number for the moment `now` (microseconds)."""
        moment = now // 1000
        with self._lock:
            if moment <= self._last >> _RANDOM_BITS:
                self._last += 1 + self._step()
            else:
                self._last = moment << _RANDOM_BITS | int.from_bytes(os.urandom(10), "big") >> 6
            return self._last

    def _step(self) -> int:
        for step in self._steps:
            return step
        self._steps = iter(_random_steps(1024))  # each call of the system takes as long as making an id
        return next(self._steps)


def _random_steps(number: int) -> memoryview:
    return memoryview(os.urandom(4 * number)).cast("I")


_RANDOM_BITS = 74
_numbers = AscendingNumbers()
os.register_at_fork(after_in_child=_numbers.begin)


def new_id(now: int) -> str:
    """A UUIDv7 (RFC 9562, 5.7) for the moment `now` (microseconds). The ids of a process ascend."""
    number = _numbers.next(now)
    high, low = number >> 62, number & 0x3FFF_FFFF_FFFF_FFFF
    groups = high >> 28, high >> 12 & 0xFFFF, high & 0xFFF, 0x8000 | low >> 48, low & 0xFFFF_FFFF_FFFF
    return "%08x-%04x-7%03x-%04x-%012x" % groups  # noqa: UP031 (an f-string takes half as long again)


def new_token() -> str:
    """A secret of 192 random bits, in characters that a URL may have."""
    import secrets

    return secrets.token_urlsafe(24)


def random_factor() -> float:
    """A random number in [0, 1), for jitter."""
    import random

    return random.random()


def leave_signals_to_main_thread() -> None:
    """Block all signals in this thread, which is not the main one.

    `posix_spawn` blocks them in the main thread, and most jobs end while another one is spawned. So the system gave
    SIGCHLD to a thread that waits, which woke up for each job, and for the interpreter's lock, to do nothing.
    """
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def pause(microseconds: int) -> None:
    """Sleep."""
    time.sleep(microseconds / 1_000_000)
