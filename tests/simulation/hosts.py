"""Hosts in virtual time: one wall clock for all, a monotonic clock each, and the namespaces of processes."""

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["HOST", "SECOND", "Host", "Place", "VirtualClock"]

SECOND = 1_000_000
EPOCH = 1_800_000_000 * SECOND
BOOT_AGE = 1_000 * SECOND
HOST = "node-1"


@dataclass(slots=True)
class VirtualClock:
    """A wall clock and a monotonic clock that stand still until they are advanced; the wall clock can jump."""

    elapsed: int = 0
    jumped: int = 0

    def now(self) -> int:
        return EPOCH + self.elapsed + self.jumped

    def monotonic(self) -> int:
        return BOOT_AGE + self.elapsed

    def advance(self, microseconds: int) -> None:
        self.elapsed += max(0, microseconds)


@dataclass(slots=True, eq=False)
class Host:
    """A machine. Its monotonic clock begins with its boot; the wall clock is the same everywhere."""

    name: str
    clock: VirtualClock
    boots: int = 1
    booted_at: int = -BOOT_AGE

    @property
    def boot_id(self) -> str:
        return f"{self.name}/boot-{self.boots}"

    def now(self) -> int:
        return self.clock.now()

    def monotonic(self) -> int:
        return self.clock.elapsed - self.booted_at


class Place(NamedTuple):
    """A host and pid namespace: where a process can be seen and killed."""

    host: str
    namespace: int
