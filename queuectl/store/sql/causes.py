"""How jobs and batches have ended, for the dependencies on them: from the tables, for purged jobs from the log."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from queuectl.domain.dependencies import BATCH, JOB, BatchState, outcome, standing_of_batch, standing_of_job
from queuectl.domain.events import After
from queuectl.domain.job import Job
from queuectl.domain.machine import FINISHED, State
from queuectl.store.protocol import Log
from queuectl.store.rows import WaitRow
from queuectl.store.sql.schema import LIVE_STATES

__all__ = ["Causes", "in_parts", "places", "waiting_rows"]

PART = 500
"""Names in one statement."""

Run = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

_BATCH = f"""
SELECT EXISTS (SELECT 1 FROM {{jobs}} AS j WHERE batch = ? AND state IN ({LIVE_STATES})),
       EXISTS (SELECT 1 FROM {{jobs}} AS j WHERE batch = ? AND state = '{State.DLQ}')
       OR EXISTS (SELECT 1 FROM {{purged}} AS p WHERE batch = ? AND state = '{State.DLQ}'),
       EXISTS (SELECT 1 FROM {{jobs}} AS j WHERE batch = ? AND state = '{State.CANCELLED}')
       OR EXISTS (SELECT 1 FROM {{purged}} AS p WHERE batch = ? AND state = '{State.CANCELLED}')
"""
_decode_edges = msgspec.json.Decoder(tuple[After, ...]).decode


def in_parts(names: Iterable[str]) -> Iterator[list[str]]:
    """The names, as many at a time as go into one statement."""
    rest = iter(names)
    while part := list(islice(rest, PART)):
        yield part


def places(part: Collection[str]) -> str:
    """The placeholders for a part."""
    return ", ".join("?" * len(part))


class Causes:
    """Reads with `run`. `jobs` and `purged` are what those tables are read from."""

    def __init__(self, run: Run, log: Log, jobs: str = "jobs", purged: str = "purged") -> None:
        self._run, self._log = run, log
        self._jobs, self._purged = jobs, purged

    def outcomes(self, ids: Iterable[str]) -> dict[str, State | None]:
        """How each of these jobs ended; None for one that is live or cannot be read."""
        found: dict[str, State | None] = {}
        for part in in_parts(dict.fromkeys(ids)):
            sql = f"SELECT id, state FROM {self._jobs} AS j WHERE id IN ({places(part)})"
            rows = {job_id: State(state) for job_id, state in self._run(sql, part)}
            found |= {job_id: state if state in FINISHED else None for job_id, state in rows.items()}
            missing = [job_id for job_id in part if job_id not in rows]
            found |= self._purged_outcomes(missing) if missing else {}
        return found

    def _purged_outcomes(self, ids: Collection[str]) -> dict[str, State | None]:
        loaded = self._log.load_all(ids)
        return {job_id: outcome(job) if isinstance(job, Job) else None for job_id, job in loaded.items()}

    def batch(self, name: str) -> BatchState:
        """How a batch stands."""
        sql = _BATCH.format(jobs=self._jobs, purged=self._purged)
        [(live, dead, cancelled)] = self._run(sql, (name,) * 5)
        return BatchState(bool(live), bool(dead), bool(cancelled))

    def rows(self, waiting: Mapping[str, tuple[tuple[After, ...], str]]) -> list[WaitRow]:
        """The rows of `waits` for jobs that wait: by id their dependencies, and what happens if one cannot be met."""
        edges = [edge for after, _ in waiting.values() for edge in after]
        ended = self.outcomes(edge.name for edge in edges if edge.kind == JOB)
        batches = {name: self.batch(name) for name in {edge.name for edge in edges if edge.kind == BATCH}}

        def standing(edge: After) -> str:
            if edge.kind == BATCH:
                return standing_of_batch(edge.on, batches[edge.name])
            return standing_of_job(edge.on, ended[edge.name])

        return [
            WaitRow(job_id, number, edge.kind, edge.name, edge.on, standing(edge), if_unmet)
            for job_id, (after, if_unmet) in waiting.items()
            for number, edge in enumerate(after, 1)
        ]


def waiting_rows(causes: Causes, found: Iterable[tuple[str, str, str]]) -> list[WaitRow]:
    """The rows of `waits` for rows of `jobs`: id, `after`, `if_unmet`. They are in order."""
    return sorted(causes.rows({job_id: (_decode_edges(after), if_unmet) for job_id, after, if_unmet in found}))
