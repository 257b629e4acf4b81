"""Jobs whose wait was recorded by a clock that was ahead, and for how long each has waited since that clock was right.

The log says since when: the first later event was recorded by a clock that is not ahead of now. So the wait continues
in the next process, such as the next `run --once`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from queuectl.domain.machine import State
from queuectl.store.rows import MAX_POSITION
from queuectl.store.sql.engine import Engine

__all__ = ["SETS_DUE_TIME", "Misdated", "Wait", "measured", "misdated", "right_again"]

SETS_DUE_TIME = """
(m.type IN ('enqueued', 'retry_scheduled', 'released', 'requeued', 'dependencies_met')
 OR m.type = 'amended' AND m.data LIKE '%"changes":{"delay":%')
"""
"""Selects the events `m` that set when their job is due. `delay` is the first field of changes, if it is set."""
_LATER = f"""
SELECT jobs.queue, jobs.priority, jobs.position, jobs.id, jobs.due_at, events.position, events.recorded_at, events.data
FROM jobs JOIN events ON events.stream_id = jobs.id AND events.version = (
    SELECT max(version) FROM events AS m WHERE m.stream_id = jobs.id
    AND {SETS_DUE_TIME})
WHERE jobs.state = '{State.PENDING}' AND jobs.due_at > ? AND events.recorded_at > ?
"""
"""Jobs that are not due yet and whose last move was recorded later than now."""
_ALL, _ONE = f"{_LATER} ORDER BY events.position", f"{_LATER} AND jobs.id = ?"
_NOTED = """
SELECT position, data FROM events WHERE position > ? AND position <= ? AND data LIKE '%"clock":%'
ORDER BY position LIMIT 100
"""
"""Events that may have been recorded while the clock was behind the log."""


class Misdated(msgspec.Struct, frozen=True):
    """A pending job. `position` is its number; `wait` and `waited` are microseconds: to wait, and waited so far."""

    queue: str
    priority: int
    position: int
    id: str
    wait: int
    waited: int

    @property
    def left(self) -> int:
        """For how long it still has to wait."""
        return max(0, self.wait - self.waited)


class Wait(NamedTuple):
    """The wait of a pending job (microseconds), and the position of the event that set it."""

    queue: str
    priority: int
    position: int
    id: str
    wait: int
    set_at: int


def misdated(engine: Engine, now: int, behind_for: int, job_id: str | None = None) -> list[Misdated]:
    """The jobs that were recorded while the clock was ahead of `now`; or that one job, if it was.

    `behind_for` is for how long this process has seen the clock behind the log. Their due time is wrong, so every job
    that is not due yet is read.
    """
    return measured(_waits(engine, now, job_id), now, behind_for, lambda after: right_again(engine, after, now))


def measured(
    waits: Iterable[Wait], now: int, behind_for: int, turn_after: Callable[[int], tuple[int, int]]
) -> list[Misdated]:
    """For how long each job has waited. The waits are in the order in which they were set.

    `turn_after` is `right_again` of a log.
    """
    found, turn = list[Misdated](), (0, now)
    for each in waits:
        turn = turn if turn[0] > each.set_at else turn_after(each.set_at)
        found.append(Misdated(*each[:-1], waited=max(behind_for, now - turn[1])))
    return found


def _waits(engine: Engine, now: int, job_id: str | None) -> Iterator[Wait]:
    sql, values = (_ALL, (now, now)) if job_id is None else (_ONE, (now, now, job_id))
    for queue, priority, position, job, due_at, set_at, recorded_at, data in engine.run(sql, values):
        since = _waits_from(recorded_at, data)
        if since is not None and since > now:
            yield Wait(queue, priority, position, job, due_at - since, set_at)


def right_again(engine: Engine, after: int, now: int, until: int = MAX_POSITION) -> tuple[int, int]:
    """Position and clock of the first event after `after`, up to `until`, whose clock was not ahead of `now`.

    The log is ahead of that clock, so the event has it in a field. `now` is returned as the clock if there is no event.
    """
    while page := engine.run(_NOTED, (after, until)):
        for position, data in page:
            times = _times_of(data)
            if times is not None and times.clock is not None and times.clock <= now:
                return position, times.clock
        after = page[-1][0]
    return MAX_POSITION, now


class _Times(msgspec.Struct):
    """The fields of an event that concern a job's wait."""

    clock: int | None = None
    at: int | None = None
    changes: "_Times | None" = None


def _times_of(data: str | None) -> _Times | None:
    """None for damaged data."""
    try:
        return msgspec.json.decode(data or "", type=_Times)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def _waits_from(recorded_at: int, data: str | None) -> int | None:
    """The wall clock time at which a job's wait began; None when its last move has none or is damaged."""
    times = _times_of(data)
    if times is None or times.at is not None or (times.changes is not None and times.changes.at is not None):
        return None
    return recorded_at if times.clock is None else times.clock
