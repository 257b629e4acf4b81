"""Queries of the table `waits`: the dependencies of jobs that wait for others."""

from queuectl.domain.dependencies import MET
from queuectl.store.projections import WAITS
from queuectl.store.rows import Waiting, WaitRow
from queuectl.store.sql.engine import Engine
from queuectl.store.sql.job_filter import HELD

__all__ = ["WaitsReader"]

_WAITING = f"""
SELECT queue, CAST(count(*) AS BIGINT), CAST(sum(held) AS BIGINT)
FROM (SELECT queue, CASE WHEN {HELD} THEN 1 ELSE 0 END AS held FROM jobs WHERE waiting = 1) AS found
GROUP BY queue ORDER BY queue
"""


class WaitsReader:
    """Implements `protocol.Waits`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def dependencies(self, job_id: str | None = None) -> list[WaitRow]:
        """The dependencies of one job that waits, or of all such jobs."""
        where, parameters = ("", ()) if job_id is None else (" WHERE id = ?", (job_id,))
        found = self._engine.run(f"SELECT {', '.join(WAITS)} FROM waits{where} ORDER BY id, number", parameters)
        return [WaitRow(*row) for row in found]

    def by_queue(self) -> list[Waiting]:
        """How many jobs of each queue wait for others, and how many of these are held."""
        return [Waiting(*row) for row in self._engine.run(_WAITING)]

    def behind(self, kind: str, name: str, limit: int) -> list[str]:
        """Ids of jobs that wait for a job or a batch, sorted, at most `limit`."""
        sql = f"SELECT DISTINCT id FROM waits WHERE kind = ? AND name = ? AND standing <> '{MET}' ORDER BY id LIMIT ?"
        return [job_id for (job_id,) in self._engine.run(sql, (kind, name, limit))]

    def crowd(self, kind: str, name: str) -> int:
        """How many jobs wait for a job or a batch."""
        [(found,)] = self._engine.run("SELECT count(*) FROM waits WHERE kind = ? AND name = ?", (kind, name))
        return int(found)
