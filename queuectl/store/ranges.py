"""Divides a log into ranges for several processes, and opens the stores through which they read them.

Each process has a store of its own, which never writes and has no archive. All of them read the log up to the same
event, so what is appended meanwhile is nobody's business but the first process's, which folds it in the end.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from queuectl.domain.names import is_stream
from queuectl.errors import StoreError
from queuectl.runtime import SystemClock
from queuectl.store import MEMORY, StoreOptions, name_of, open_store
from queuectl.store.projections import Row
from queuectl.store.protocol import Derived, Store, StreamRange
from queuectl.store.rows import Head, StoredEvent

__all__ = ["PARTS", "SMALL", "Place", "Shares", "event_at", "in_order", "opened", "positions", "stream_ranges"]

SMALL = 50_000
"""Events below which it is not worth it to start processes."""

PARTS = 12
"""Ranges for each process: the last ones to finish do not leave the others waiting for long."""

SAMPLES = 8
"""Events that are looked at for each range, to find out where the streams with most events are."""


class Shares(Struct, frozen=True):
    """How many processes read the log at `url`, and with which busy timeout (microseconds).

    A log with fewer events than `small` is read by one.
    """

    url: str = MEMORY
    busy_timeout: int = 0
    processes: int = 1
    small: int = SMALL

    def pay(self, store: Store) -> bool:
        """Whether several processes are faster than this one alone."""
        events = store.log.head().position - store.log.base.position
        return self.processes > 1 and self.url != MEMORY and events >= max(1, self.small)

    def of(self, store: Store, head: Head) -> "Place":
        """Where the other processes find this log."""
        return Place(self.url, self.busy_timeout, store.log.log_id, head)


class Place(Struct, frozen=True):
    """Where a process finds the log, and how it knows that it is the right one."""

    url: str
    busy_timeout: int
    log_id: str
    head: Head


@contextmanager
def opened(place: Place) -> Iterator[Store]:
    """A store to read the log through. Raises StoreError when another log is there by now."""
    options = StoreOptions(busy_timeout=place.busy_timeout, archived=False, read_only=True)
    store = open_store(place.url, SystemClock(), options)
    try:
        if store.log.log_id != place.log_id or store.log.digest_at(place.head.position) != place.head.digest:
            raise StoreError(f"the queue {name_of(place.url)} was moved, removed or replaced while it was in use")
        yield store
    finally:
        store.close()


def positions(store: Store, until: int, count: int) -> list[int]:
    """About `count` positions from the log's first to its last event, evenly spaced."""
    first = store.log.base.position + 1
    step = max(1, (until - first) // count)
    return list(range(first, until + 1, step))


def event_at(store: Store, position: int) -> StoredEvent | None:
    """The event at a position, unchecked; None when there is none."""
    return next(iter(store.log.stored(after=position - 1, until=position)), None)


def stream_ranges(store: Store, until: int, processes: int) -> list[StreamRange]:
    """All streams, divided into ranges that have about as many events each. The huge one may stand alone."""
    parts = processes * PARTS
    found = (event_at(store, position) for position in positions(store, until, parts * SAMPLES))
    streams = sorted(event.stream_id for event in found if event is not None and is_stream(event.stream_id))
    limits = sorted(set(streams[SAMPLES::SAMPLES]))
    return [StreamRange(first, end) for first, end in zip(["", *limits], [*limits, None], strict=True)]


def in_order(batches: Iterable[tuple[int, Derived]]) -> Iterator[Derived]:
    """The batches of numbered ranges as they come, but the notes at last and in the order of the ranges.

    Should two streams of a damaged log decide the same row, the later stream's note has to win.
    """
    notes: dict[int, list[Row]] = {}
    for number, batch in batches:
        notes.setdefault(number, []).extend(batch.notes)
        yield Derived(batch.rows, batch.suspects)
    yield Derived(notes=[row for _, rows in sorted(notes.items()) for row in rows])
