"""Answers questions about the whole log: the runs in a part of it, ids of jobs, notes, and each job's last move."""

from collections.abc import Collection, Iterator
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from queuectl.domain.machine import MOVES
from queuectl.store.errors import NoTextError
from queuectl.store.rows import FIRST_FORMAT, MAX_POSITION, LastMove, RunStep
from queuectl.store.sql.engine import Engine
from queuectl.store.sql.log import PAGE, Log
from queuectl.store.sql.misdated import SETS_DUE_TIME, right_again
from queuectl.store.sql.unchanged import Unchanged
from queuectl.store.stream_fold import Examined

__all__ = ["History"]

_MOVES = ", ".join(f"'{name}'" for name in ("enqueued", *(move.event for move in MOVES)))
_AFTER_ALL = "\U0010ffff"
"""Sorts after every other character."""
_LAST_MOVES = """
SELECT e.stream_id, {queue},
       (SELECT m.type FROM events AS m WHERE m.stream_id = e.stream_id AND m.position <= ?1 AND m.type IN ({moves})
        ORDER BY m.version DESC LIMIT 1), e.position
FROM events AS e WHERE e.position <= ?1 AND e.type = 'enqueued'{only} ORDER BY e.position
"""
_AMENDED = """
SELECT e.stream_id, e.data FROM events AS e WHERE e.position <= ?1 AND e.type = 'amended'{only} ORDER BY e.position
"""
_CHANGED = """
AND e.stream_id IN (SELECT stream_id FROM events WHERE position > ?2 AND position <= ?3
                    UNION SELECT id FROM jobs WHERE waiting IS NOT NULL)
"""
_ADDED = """
AND e.stream_id IN (SELECT stream_id FROM events WHERE position > ?2 AND position <= ?3 AND type = 'enqueued')
"""
_ADDED_FIRST = " AND e.position > ?2 AND e.position <= ?3"
_STEP = "SELECT e.position, e.stream_id, e.type, e.recorded_at, e.data, f.data, b.recorded_at, b.data, b.type"
_STEPS = f"""
FROM events AS e
LEFT JOIN events AS f ON f.stream_id = e.stream_id AND f.version = 1
LEFT JOIN events AS b ON e.type = 'claimed' AND b.stream_id = e.stream_id AND b.version = (
    SELECT max(m.version) FROM events AS m WHERE m.stream_id = e.stream_id AND m.version < e.version
    AND {SETS_DUE_TIME})
WHERE e.position > ? AND e.position <= ? AND e.type IN """
_IS_EDITED = """
EXISTS (SELECT 1 FROM events AS a WHERE a.stream_id = e.stream_id AND a.version < e.version AND a.type = 'amended')
"""
_EDITS = """
SELECT data FROM events WHERE stream_id = ? AND position < ? AND type = 'amended' ORDER BY version
"""
_STREAMS = """
SELECT DISTINCT stream_id FROM events
WHERE stream_id >= ? AND stream_id < ? AND stream_id NOT LIKE '$%' AND position <= ? LIMIT ?
"""

_ENDING = """
SELECT stream_id FROM events WHERE version = 1 AND substr(stream_id, length(stream_id) + 1 - ?) = ?
AND stream_id NOT LIKE '$%' AND position <= ? LIMIT ?
"""


class History:
    """Implements `protocol.History`."""

    def __init__(self, engine: Engine, log: Log) -> None:
        self._engine, self._log = engine, log

    def run_steps(self, types: Collection[str], *, after: int, until: int) -> Iterator[RunStep]:
        """Events of these types, in order. A page in which there are bytes that are not text is left out."""
        is_edited = _IS_EDITED if self._log.format() > FIRST_FORMAT else "0"
        sql = f"{_STEP}, {is_edited} {_STEPS} ({', '.join('?' * len(types))}) ORDER BY e.position"
        for start in range(after, until, PAGE):
            with suppress(NoTextError):
                rows = self._engine.run(sql, (start, min(start + PAGE, until), *types))
                yield from [self._with_edits(RunStep(*row)) if is_edited else RunStep(*row) for *row, is_edited in rows]

    def _with_edits(self, step: RunStep) -> RunStep:
        """The step with the edits of its job before it. Few jobs are edited, so it is a query for each."""
        edits = tuple(data for (data,) in self._engine.run(_EDITS, (step.job_id, step.position)))
        return replace(step, edits=edits)

    def streams(self, prefix: str, limit: int, until: int | None = None) -> list[str]:
        """Ids of jobs (also purged) that begin with `prefix` and existed at position `until` (None: now)."""
        last = MAX_POSITION if until is None else until
        return [row[0] for row in self._engine.run(_STREAMS, (prefix, prefix + _AFTER_ALL, last, limit))]

    def ending(self, suffix: str, limit: int, until: int | None = None) -> list[str]:
        """Ids of jobs (also purged) that end with `suffix` and existed at position `until` (None: now)."""
        last = MAX_POSITION if until is None else until
        return [row[0] for row in self._engine.run(_ENDING, (len(suffix), suffix, last, limit))]

    def notes(self, prefix: str, until: int) -> list[Examined]:
        """Events up to a position of our own streams (`$…`) whose ids begin with `prefix`, in the order of the log."""
        # The + keeps SQLite on the index of streams: a long log has few notes.
        clause = "WHERE e.stream_id BETWEEN ? AND ? AND +e.position <= ? ORDER BY e.position"
        return self._log.examined_where(clause, (prefix, prefix + _AFTER_ALL, until))

    def last_moves(self, until: int, *, added: bool = False, after: int = 0, end: int = MAX_POSITION) -> list[LastMove]:
        """The last move of jobs up to a position. Leaves out jobs whose first event no longer names a queue.

        Of the jobs that have an event with `after < position <= end`, or that wait for others now; with `added` of
        those that were added by such an event.
        """
        first, others = (_ADDED_FIRST, _ADDED) if added else (_CHANGED, _CHANGED)
        column, parameters = self._engine.dialect.queue_of.format("e.data"), (until, after, end)
        found = self._engine.run(_LAST_MOVES.format(queue=column, moves=_MOVES, only=first), parameters)
        rows = [LastMove(*row) for row in found if isinstance(row[1], str)]
        amended = (
            self._engine.run(_AMENDED.format(only=others), parameters) if self._log.format() > FIRST_FORMAT else []
        )
        moved = {job_id: queue for job_id, data in amended if (queue := _amended_queue(data)) is not None}
        return [replace(row, queue=moved[row.job_id]) if row.job_id in moved else row for row in rows]

    def right_again(self, after: int, now: int, until: int = MAX_POSITION) -> tuple[int, int]:
        """Position and clock of the first event whose clock was not ahead of `now`."""
        return right_again(self._engine, after, now, until)

    def unchanged(self, position: int) -> Unchanged:
        """The jobs that no event has changed since a position."""
        return Unchanged(self._engine, position)


class _Amended(msgspec.Struct):
    """The part of an `amended` event that moves a job to another queue."""

    class Changes(msgspec.Struct):
        """The changes."""

        queue: str | None = None

    changes: Changes


def _amended_queue(data: object) -> str | None:
    """The new queue, if any; None for damaged data."""
    try:
        return msgspec.json.decode(data if isinstance(data, str) else "", type=_Amended).changes.queue
    except (msgspec.MsgspecError, UnicodeError):
        return None
