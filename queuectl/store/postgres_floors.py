"""Where to begin looking for due jobs: not before those that have been claimed.

Their index entries stay until vacuum may take them, which any old snapshot in the database keeps it from; a search from
the beginning reads past all of them. Jobs fall due in the order of the log's time, so nothing comes before the floor
but what is enqueued for a moment that has passed: hence from the beginning now and then, and when too little is found.
"""

from queuectl.runtime import SystemClock

__all__ = ["Floors"]

FROM_THE_BEGINNING_EVERY = 1_000_000


class Floors:
    """By queue and priority: when the first job was due that the last search found."""

    def __init__(self) -> None:
        self._floors: dict[tuple[str, int], int] = {}
        self._clock, self._until = SystemClock(), 0

    def of(self, queue: str, priority: int) -> int | None:
        """The due moment to begin at; None: at the beginning."""
        if self._clock.monotonic() >= self._until:
            self._floors.clear()
            self._until = self._clock.monotonic() + FROM_THE_BEGINNING_EVERY
        return self._floors.get((queue, priority))

    def found(self, queue: str, priority: int, due_at: int) -> None:
        """The first that is due, as the log stands."""
        self._floors[queue, priority] = due_at

    def lower(self, queue: str, priority: int, due_at: int) -> None:
        """One that is due then has come."""
        if due_at < self._floors.get((queue, priority), due_at):
            del self._floors[queue, priority]
