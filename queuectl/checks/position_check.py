"""Checks a range of positions: there are no gaps, and times never go back."""

from collections.abc import Callable, Iterator

from msgspec import Struct

from queuectl.checks.report import Report
from queuectl.store.protocol import Store
from queuectl.store.rows import StoredEvent

__all__ = ["EVERY", "PositionRange", "check_positions"]

EVERY = 1000
"""Events between two yields."""

Compare = Callable[[StoredEvent], None]


class PositionRange(Struct, frozen=True):
    """The events with `after < position <= until`. There is an event at `after`, recorded at `recorded_at`.

    If `after` is the log's base, there is none. Either way no gap can hide between two ranges.
    """

    after: int
    until: int
    recorded_at: int = 0
    segments: tuple[str, ...] = ()
    """The archive's segments that should hold exactly these events."""


def check_positions(store: Store, report: Report, part: PositionRange, compare: Compare | None = None) -> Iterator[int]:
    """Report what is wrong in a range. Calls `compare` with each event. Yields, now and then, how many were read."""
    expected, last, done = part.after + 1, part.recorded_at, 0
    for position, recorded_at, stream in _positions(store, part, compare):
        if position > expected:
            report.missing(expected, position - 1)
        if recorded_at < last:
            what, stream_id = "it was recorded before the event before it", stream.decode(errors="surrogateescape")
            report.doubt("time", position - 1, position, what, stream_id)
        expected, last, done = position + 1, recorded_at, done + 1
        if done % EVERY == 0:
            yield done


def _positions(store: Store, part: PositionRange, compare: Compare | None) -> Iterator[tuple[int, int, bytes]]:
    """Position, time and stream of each event."""
    if compare is None:
        for position, recorded_at, stream in store.upkeep.timeline(after=part.after, until=part.until):
            yield position, recorded_at or 0, stream or b""
        return
    for row in store.log.stored(after=part.after, until=part.until):
        compare(row)
        yield row.position, row.recorded_at or 0, (row.stream_id or "").encode(errors="surrogateescape")
