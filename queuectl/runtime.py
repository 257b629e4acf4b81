"""The world outside: clock, ids, randomness. The only file that reads time or chance; tests pass their own."""

import os
import time
from functools import cache
from typing import Protocol

__all__ = ["Clock", "LogClock", "SystemClock", "boot_id", "new_id", "pause", "random_factor"]


class Clock(Protocol):
    """Two clocks, both in microseconds."""

    def now(self) -> int:
        """The wall clock, since the epoch, UTC. It can jump: for display and for moments that people name."""

    def monotonic(self) -> int:
        """A clock that does not jump and is the same for every process of this boot: for leases and timeouts."""


class SystemClock:
    """This machine's clocks."""

    def now(self) -> int:
        """See Clock."""
        return time.time_ns() // 1000

    def monotonic(self) -> int:
        """See Clock."""
        return time.monotonic_ns() // 1000


class LogClock:
    """The log's time: the wall clock, but it never stands still before what the log has already recorded.

    When the wall clock is set back, the log's time goes on from the last event at the monotonic clock's pace,
    so that waits end and the log stays in the order of its times.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._floor, self._floor_set_at = 0, clock.monotonic()

    def now(self, last_recorded: int) -> int:
        """Microseconds since the epoch, not before `last_recorded`."""
        elapsed = self._clock.monotonic() - self._floor_set_at
        if last_recorded > self._floor + elapsed:
            self._floor, self._floor_set_at, elapsed = last_recorded, self._clock.monotonic(), 0
        return max(self._clock.now(), self._floor + elapsed)


@cache
def boot_id() -> str:
    """The id of this boot of the machine; empty where the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def new_id(now: int) -> str:
    """A UUIDv7 (RFC 9562, 5.7) for the moment `now` (microseconds): sorts by time, 74 random bits."""
    chance = int.from_bytes(os.urandom(10), "big")
    high = (now // 1000 << 16) | 0x7000 | (chance >> 64 & 0xFFF)
    low = (0b10 << 62) | (chance & (1 << 62) - 1)
    text = f"{high << 64 | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def random_factor() -> float:
    """A random number in [0, 1), for jitter."""
    import random

    return random.random()


def pause(microseconds: int) -> None:
    """Sleep."""
    time.sleep(microseconds / 1_000_000)
