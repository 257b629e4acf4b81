"""Questions put to the log about a moment: which jobs were there, where they stood, what had been noted.

And how much of it is known to be on disk.
"""

from queuectl.domain.machine import MOVES
from queuectl.store.base import Standing
from queuectl.store.examining import ExaminedLog
from queuectl.store.lives import Found

__all__ = ["Moments"]

_MOVES = ", ".join(f"'{name}'" for name in ("enqueued", *(move.event for move in MOVES)))
_STANDING = f"""
SELECT e.stream_id, e.recorded_at, json_extract(e.data, '$.queue'),
       (SELECT m.type FROM events AS m WHERE m.stream_id = e.stream_id AND m.position <= ?1 AND m.type IN ({_MOVES})
        ORDER BY m.version DESC LIMIT 1)
FROM events AS e WHERE e.position <= ?1 AND e.type = 'enqueued' AND json_valid(e.data) ORDER BY e.position
"""
_STREAMS = """
SELECT DISTINCT stream_id FROM events
WHERE stream_id >= ?1 AND stream_id < ?1 || char(0x10ffff) AND stream_id NOT LIKE '$%'
  AND (?2 IS NULL OR position <= ?2)
LIMIT ?3
"""


class Moments(ExaminedLog):
    """What a store answers without folding; most of it from single columns of `events`."""

    def streams(self, prefix: str, limit: int, until: int | None = None) -> list[str]:
        """See EventStore."""
        return [row[0] for row in self._run(_STREAMS, (prefix, until, limit))]

    def notes(self, prefix: str, until: int) -> list[Found]:
        """See EventStore. The + keeps SQLite to the streams' index: there are few notes in a long log."""
        clause = "WHERE e.stream_id BETWEEN ? AND ? AND +e.position <= ? ORDER BY e.position"
        return list(map(self._examine, self._fetch(clause, (prefix, prefix + "\U0010ffff", until))))

    def standing(self, until: int) -> list[Standing]:
        """See EventStore. Without jobs whose first event is too damaged to name a queue."""
        return [Standing._make(row) for row in self._run(_STANDING, (until,)) if isinstance(row[2], str)]

    def on_disk(self) -> int:
        """See EventStore. A commit that waits for the disk takes with it all that was committed before."""
        found = self._run("SELECT position FROM events WHERE type <> 'claimed' ORDER BY position DESC LIMIT 1")
        return int(found[0][0]) if found else 0
