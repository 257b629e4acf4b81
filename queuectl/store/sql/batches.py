"""Queries of the batches of jobs, in SQL that both engines understand."""

from queuectl.domain.machine import State
from queuectl.store.rows import BatchCount
from queuectl.store.sql.engine import Engine
from queuectl.store.sql.tables import state_of

__all__ = ["Batches"]

_NAMES = """
WITH RECURSIVE names (name, place) AS (
    SELECT min(batch), 1 FROM jobs WHERE batch >= ?
    UNION ALL
    SELECT (SELECT min(batch) FROM jobs WHERE batch > name), place + 1 FROM names WHERE name IS NOT NULL AND place < ?
)
SELECT name FROM names
"""
_DEAD = f"SELECT count(*) FROM (SELECT 1 FROM jobs WHERE batch = ? AND state = '{State.DLQ}' LIMIT ?) AS dead"


class Batches:
    """Implements `protocol.Batches`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[BatchCount]:
        """Jobs per batch and state, with the times of the first and the last change."""
        found = self._engine.run(
            "SELECT batch, state, CAST(count(*) AS BIGINT), min(position), min(created_at), max(updated_at) FROM jobs"
            " WHERE batch IS NOT NULL GROUP BY batch, state ORDER BY batch, state"
        )
        return [BatchCount(batch, state, *rest) for batch, name, *rest in found if (state := state_of(name))]

    def dead(self, batch: str, at_most: int) -> int:
        """How many jobs of a batch are in the dead-letter queue; at most `at_most` are counted."""
        found: int = self._engine.run(_DEAD, (batch, at_most))[0][0]
        return found

    def names(self, prefix: str, limit: int) -> list[str]:
        """The names of batches that begin with `prefix`, in their order: a seek for each."""
        return [
            row[0]
            for row in self._engine.run(_NAMES, (prefix, limit))
            if row[0] is not None and row[0].startswith(prefix)
        ]
