"""How many failures a batch may have. Its newest `batch_opened` event says it, each takes it over from the last one."""

from queuectl.domain.events import BatchOpened, RecordedEvent
from queuectl.domain.names import batch_stream
from queuectl.store.protocol import Log

__all__ = ["limit_of"]

READ = 3
"""Events that are read, should the newest one be damaged."""


def limit_of(log: Log, batch: str) -> int | None:
    """How many jobs of the batch may be in the dead-letter queue before its pending ones are cancelled; None: any."""
    for found in log.newest(batch_stream(batch), READ):
        if isinstance(found, RecordedEvent) and isinstance(found.event, BatchOpened):
            return found.event.max_failures
    return None
