"""Warns when the log is ahead of the wall clock: some event was recorded by a clock that was ahead."""

from msgspec import Struct

from queuectl.errors import command_line
from queuectl.store.protocol import Store
from queuectl.units import SECOND, format_duration, local_time
from queuectl.worker.log import log

__all__ = ["ClockWatch"]

SKEW = 5 * SECOND


class ClockWatch(Struct):
    """Logs one warning each time the log gets ahead of the clock."""

    _warned: bool = False

    def look(self, store: Store) -> None:
        """Compare the log's last event with the wall clock."""
        last, now = store.log.head().recorded_at, store.log.wall()
        is_ahead = last > now + SKEW
        if is_ahead and not self._warned:
            log.warning(
                "the log's last event is dated %s, %s ahead of the clock: a clock was wrong when it was recorded, or is"
                " wrong now (`%s`). Jobs run at their due times by the clock as it is now",
                local_time(last),
                format_duration((last - now) // SECOND * SECOND),
                command_line("doctor"),
            )
        self._warned = is_ahead
