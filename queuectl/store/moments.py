"""Finds the position of a moment in a log."""

from bisect import bisect_right

from queuectl.store.protocol import Log

__all__ = ["position_at", "recorded_at"]


def position_at(log: Log, moment: int) -> int:
    """The last position recorded at or before a moment (microseconds, UTC). `recorded_at` never decreases."""
    first, last = log.base.position + 1, log.head().position
    return first - 1 + bisect_right(range(first, last + 1), moment, key=lambda place: recorded_at(log, place))


def recorded_at(log: Log, position: int) -> int:
    """When the event at a position was recorded (microseconds, UTC)."""
    row = next(log.stored(after=position - 1, until=position), None)
    return row.recorded_at if row else log.base.recorded_at
