"""How many failures a batch may have. Its newest `batch_opened` event says it, each takes it over from the last one."""

from queuectl.domain.events import BatchOpened, RecordedEvent
from queuectl.domain.names import batch_stream
from queuectl.store.protocol import Batches, Log

__all__ = ["exceeded_limit", "limit_of"]

READ = 3
"""Events that are read, should the newest one be damaged."""


def limit_of(log: Log, batch: str) -> int | None:
    """How many jobs of the batch may be in the dead-letter queue before its pending ones are cancelled; None: any."""
    for found in log.newest(batch_stream(batch), READ):
        if isinstance(found, RecordedEvent) and isinstance(found.event, BatchOpened):
            return found.event.max_failures
    return None


def exceeded_limit(log: Log, batches: Batches, batch: str) -> int | None:
    """The limit of failures of a batch, when it is exceeded. The caller holds the log's lock."""
    limit = limit_of(log, batch)
    return limit if limit is not None and batches.dead(batch, limit + 1) > limit else None
