"""Divides a log into ranges for several processes, and opens the stores through which they read them.

Each process has its own store, which never writes and has no archive. All of them read the log up to the same event.
Events appended meanwhile are left to the first process, which folds them at the end.
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
"""Number of events below which starting processes does not pay."""

PARTS = 32
"""Ranges for each process. With several, nobody waits long for the last process to finish."""

SAMPLES = 4
"""Events read for each range, to find out which streams have most of the events."""


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
        """The place where the other processes find this log."""
        return Place(self.url, self.busy_timeout, store.log.log_id, head)


class Place(Struct, frozen=True):
    """The place of a log, with facts by which a process recognises that it is the right log."""

    url: str
    busy_timeout: int
    log_id: str
    head: Head


@contextmanager
def opened(place: Place) -> Iterator[Store]:
    """A store to read the log through. Raises StoreError when there is another log at the place now."""
    options = StoreOptions(busy_timeout=place.busy_timeout, archived=False, read_only=True)
    store = open_store(place.url, SystemClock(), options)
    try:
        if store.log.log_id != place.log_id or store.log.digest_at(place.head.position) != place.head.digest:
            raise StoreError(
                f"the queue {name_of(place.url)} was moved, removed or replaced while it was in use: start again"
            )
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
    """All streams, divided into ranges with about equally many events. A very large stream may be a range by itself."""
    parts = processes * PARTS
    found = (event_at(store, position) for position in positions(store, until, parts * SAMPLES))
    streams = sorted(event.stream_id for event in found if event is not None and is_stream(event.stream_id))
    limits = sorted(set(streams[SAMPLES::SAMPLES]))
    return [StreamRange(first, end) for first, end in zip(["", *limits], [*limits, None], strict=True)]


def in_order(batches: Iterable[tuple[int, Derived]]) -> Iterator[Derived]:
    """The batches of numbered ranges as they arrive, but notes last and in the order of the ranges.

    If two streams of a damaged log set the same row, the later stream's note must win.
    """
    notes: dict[int, list[Row]] = {}
    for number, batch in batches:
        notes.setdefault(number, []).extend(batch.notes)
        yield Derived(batch.rows, batch.suspects, format=batch.format, counts=batch.counts)
    yield Derived(notes=[row for _, rows in sorted(notes.items()) for row in rows])
