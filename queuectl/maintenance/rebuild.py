"""Recomputes the tables from the log, with several processes when the log is long."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from queuectl.parallel import Children
from queuectl.store import ranges
from queuectl.store.protocol import Derived, Store, StreamRange
from queuectl.store.ranges import Place, Shares
from queuectl.store.rows import ALL_STREAMS, Differences

__all__ = ["opened", "rebuild"]

_ENTRY = "queuectl.maintenance.rebuild:opened"

Progress = Callable[[int], None]
"""Called with the number of events folded."""


class Part(Struct, frozen=True):
    """Streams to fold up to a position. The rows of `unsound` tables are not read."""

    streams: StreamRange
    until: int
    unsound: tuple[str, ...]


def rebuild(store: Store, progress: Progress, shares: Shares) -> Differences:
    """Derive the tables again and correct the rows that differ, while others keep working. Raises StoreError."""
    if not shares.pay(store):
        return store.upkeep.rebuild(lambda until, unsound: _alone(store, until, unsound, progress))
    with Children(_ENTRY, shares.of(store, store.log.head()), shares.processes) as children:
        return store.upkeep.rebuild(lambda until, unsound: _shared(store, children, shares, until, unsound, progress))


def _alone(store: Store, until: int, unsound: Collection[str], progress: Progress) -> Iterator[Derived]:
    events = 0
    for derived in store.upkeep.derived(ALL_STREAMS, until, unsound):
        events += derived.events
        progress(events)
        yield derived


def _shared(  # noqa: PLR0913, PLR0917 (what `derive` is given, and what it is not)
    store: Store, children: Children, shares: Shares, until: int, unsound: Collection[str], progress: Progress
) -> Iterator[Derived]:
    streams = ranges.stream_ranges(store, until, shares.processes)
    children.give(Part(each, until, tuple(unsound)) for each in streams)
    return ranges.in_order(_batches(children, progress))


def _batches(children: Children, progress: Progress) -> Iterator[tuple[int, Derived]]:
    done: dict[int, int] = defaultdict(int)
    for number, result in children.results():
        if isinstance(result, Derived):
            yield number, result
        else:
            done[number] = result
            progress(sum(done.values()))


# ── in a child process ──────────────────────────────────────────────────────────────────────────────


@contextmanager
def opened(place: Place) -> Iterator[Callable[[Part], Iterator[Any]]]:
    """Open the log. Yields a function that folds a part; it yields Derived, and how many events were folded so far."""

    def folded(part: Part) -> Iterator[Any]:
        events = 0
        for derived in store.upkeep.derived(part.streams, part.until, part.unsound):
            events += derived.events
            yield events
            if not derived.is_empty():
                yield derived

    with ranges.opened(place) as store:
        yield folded
