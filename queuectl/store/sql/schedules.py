"""Queries of the table `schedules`, in SQL that both engines understand."""

from typing import Any

import msgspec

from queuectl.domain.events import Origin
from queuectl.domain.schedule import Schedule
from queuectl.errors import command_line
from queuectl.store.errors import DamagedError
from queuectl.store.projections import SCHEDULES_COLUMNS, schedule_of
from queuectl.store.sql.engine import Engine
from queuectl.store.sql.schema import LIVE_STATES

__all__ = ["Schedules"]

_SCHEDULES = f"SELECT {', '.join(SCHEDULES_COLUMNS)} FROM schedules"


class Schedules:
    """Implements `protocol.Schedules`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[Schedule]:
        """All schedules, ordered by name. Raises DamagedError for a corrupt row."""
        return [_schedule(row) for row in self._engine.run(f"{_SCHEDULES} ORDER BY name")]

    def named(self, name: str) -> Schedule | None:
        """One schedule. Raises DamagedError for a corrupt row."""
        found = self._engine.run(f"{_SCHEDULES} WHERE name = ?", (name,))
        return _schedule(found[0]) if found else None

    def due(self, now: int) -> list[tuple[str, int]]:
        """(name, version) of the schedules whose next slot is due, the longest due first."""
        sql = "SELECT name, version FROM schedules WHERE next_at IS NOT NULL AND next_at <= ? ORDER BY next_at"
        return [(name, version) for name, version in self._engine.run(sql, (now,))]

    def next_slot(self, now: int) -> int | None:
        """When the next schedule is due that is not due at `now`."""
        sql = "SELECT next_at FROM schedules WHERE next_at IS NOT NULL AND next_at > ? ORDER BY next_at LIMIT 1"
        found = self._engine.run(sql, (now,))
        return found[0][0] if found else None

    def live_job(self, schedule: str) -> str | None:
        """A job of a schedule that is pending or processing."""
        label = Origin("schedule", schedule).label
        found = self._engine.run(f"SELECT id FROM jobs WHERE origin = ? AND state IN ({LIVE_STATES}) LIMIT 1", (label,))
        return found[0][0] if found else None


def _schedule(row: tuple[Any, ...]) -> Schedule:
    try:
        return schedule_of(row)
    except (msgspec.MsgspecError, TypeError):
        raise DamagedError(f"the table row of schedule {row[0]} is corrupt: {command_line('rebuild')}") from None
