"""The queue as it was at a position of the log, or at a time."""

from queuectl.errors import UsageError
from queuectl.store.errors import DamagedEventError
from queuectl.store.moments import position_at, recorded_at
from queuectl.store.past import Past
from queuectl.store.protocol import Store
from queuectl.units import local_time, parse_time

__all__ = ["Past", "as_of", "before_the_log", "position_at"]


def as_of(store: Store, text: str) -> Past:
    """The queue at a position (a whole number, or `head`), or as it was at a time. Raises UsageError for neither.

    At a position the moment is what the wall clock showed then, by which jobs are due; the log may have been ahead.
    """
    base, head = store.log.base, store.log.head()
    if text == "head":
        return Past.of(store, head.position, _clock_at(store, head.position))
    if text.isascii() and text.isdigit():
        position = int(text[:20])  # no store has a position of more digits
        if not base.position <= position <= head.position:
            raise UsageError(f"there is no position {position}: the log ends at {head.position}")
        return Past.of(store, position, _clock_at(store, position))
    try:
        moment = min(parse_time(text, store.log.now()), store.log.now())
    except ValueError as error:
        raise UsageError(f"{error}, or a position of the log such as {head.position}") from None
    return Past.of(store, position_at(store.log, moment), moment)


def before_the_log(store: Store, past: Past) -> str:
    """A sentence on when the log began, when the time that was asked for is before that; else nothing."""
    if past.position > store.log.base.position:
        return ""
    first = next(store.log.stored(after=store.log.base.position, until=store.log.base.position + 1), None)
    if first is None or not 0 < past.moment < first.recorded_at:
        return ""
    return f"the log began at {local_time(first.recorded_at)}: there is nothing before that"


def _clock_at(store: Store, position: int) -> int:
    try:
        record = next(store.log.records(after=position - 1, until=position), None)
    except DamagedEventError:
        record = None
    return record.clock if record else recorded_at(store.log, position)
