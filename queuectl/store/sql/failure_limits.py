"""The limit of failures of a batch: when it is exceeded, the pending jobs of the batch are to be cancelled."""

from collections.abc import Iterable, Iterator

from queuectl.domain.machine import State
from queuectl.domain.reactions import Lost, why_stopped
from queuectl.store.batch_limits import limit_of
from queuectl.store.protocol import Log
from queuectl.store.sql.engine import Engine

__all__ = ["stopped"]

_DEAD = f"SELECT count(*) FROM (SELECT 1 FROM jobs WHERE batch = ? AND state = '{State.DLQ}' LIMIT ?) AS dead"
_PENDING = f"SELECT id, position FROM jobs WHERE batch = ? AND state = '{State.PENDING}' ORDER BY position"


def stopped(engine: Engine, log: Log, batches: Iterable[str]) -> Iterator[Lost]:
    """The pending jobs of those of these batches whose limit is exceeded. The caller holds the log's lock."""
    for batch in batches:
        limit = limit_of(log, batch)
        if limit is not None and engine.run(_DEAD, (batch, limit + 1))[0][0] > limit:
            why = why_stopped(batch, limit)
            yield from (Lost(job_id, why) for job_id, _ in engine.run(_PENDING, (batch,)))
