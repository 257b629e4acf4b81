"""Questions put to the log about a moment: which jobs were there, where they stood, what had been noted.

And how much of it is known to be on disk.
"""

from queuectl.domain.machine import MOVES
from queuectl.store.protocol import Standing
from queuectl.store.sql.log_reader import ExaminedLog
from queuectl.store.stream_fold import Found

__all__ = ["Moments"]

_MOVES = ", ".join(f"'{name}'" for name in ("enqueued", *(move.event for move in MOVES)))
_LAST = "\U0010ffff"
"""It comes after every other character."""
_NOW = (1 << 63) - 1
_STANDING = """
SELECT e.stream_id, e.recorded_at, {queue},
       (SELECT m.type FROM events AS m WHERE m.stream_id = e.stream_id AND m.position <= ?1 AND m.type IN ({moves})
        ORDER BY m.version DESC LIMIT 1)
FROM events AS e WHERE e.position <= ?1 AND e.type = 'enqueued' ORDER BY e.position
"""
_STREAMS = """
SELECT DISTINCT stream_id FROM events
WHERE stream_id >= ? AND stream_id < ? AND stream_id NOT LIKE '$%' AND position <= ? LIMIT ?
"""


class Moments(ExaminedLog):
    """What a store answers without folding; most of it from single columns of `events`."""

    def streams(self, prefix: str, limit: int, until: int | None = None) -> list[str]:
        """See the protocol."""
        return [
            row[0] for row in self._run(_STREAMS, (prefix, prefix + _LAST, _NOW if until is None else until, limit))
        ]

    def notes(self, prefix: str, until: int) -> list[Found]:
        """See the protocol. The + keeps SQLite to the streams' index: there are few notes in a long log."""
        clause = "WHERE e.stream_id BETWEEN ? AND ? AND +e.position <= ? ORDER BY e.position"
        return list(map(self._examine, self._fetch(clause, (prefix, prefix + _LAST, until))))

    def standing(self, until: int) -> list[Standing]:
        """See the protocol. Without jobs whose first event is too damaged to name a queue."""
        sql = _STANDING.format(queue=self._dialect.queue_of.format("e.data"), moves=_MOVES)
        return [Standing._make(row) for row in self._run(sql, (until,)) if isinstance(row[2], str)]

    def on_disk(self) -> int:
        """See the protocol. A commit that waits for the disk takes with it all that was committed before."""
        found = self._run("SELECT position FROM events WHERE type <> 'claimed' ORDER BY position DESC LIMIT 1")
        return int(found[0][0]) if found else self._base.position
