"""The limit of failures of a batch: when it is exceeded, the pending jobs of the batch are to be cancelled."""

from collections.abc import Iterator, Mapping
from itertools import takewhile

from queuectl.domain import events as e
from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.domain.reactions import Lost, why_stopped
from queuectl.store.batch_limits import exceeded_limit
from queuectl.store.errors import DamagedEventError
from queuectl.store.sql.batches import Batches
from queuectl.store.sql.engine import Engine
from queuectl.store.sql.log import Log

__all__ = ["fallen_at_the_end", "stopped"]

_PENDING = f"SELECT id, position FROM jobs WHERE batch = ? AND state = '{State.PENDING}' ORDER BY position"

_RESULTS = (e.DeadLettered, e.RetryScheduled, e.Released)
_ONE_APPEND = (*_RESULTS, e.Completed, e.Cancelled, e.ResultRejected, e.DependenciesMet)
_READ = 1000


def stopped(engine: Engine, log: Log, batches: Mapping[str, int]) -> Iterator[Lost]:
    """The pending jobs of those of these batches whose limit is exceeded. The caller holds the log's lock.

    `batches`: the position of the event after which the limit of each is looked at.
    """
    for batch, by in batches.items():
        limit = exceeded_limit(log, Batches(engine), batch)
        if limit is not None:
            why = why_stopped(batch, limit)
            yield from (Lost(job_id, why, by) for job_id, _ in engine.run(_PENDING, (batch,)))


def fallen_at_the_end(log: Log) -> dict[str, int]:
    """The batches that the last events of a log are about: its end may lack what follows from a failure.

    With the position of the last of these failures; if it is not among these events, that of a cancellation.
    """
    newest = log.examined_where(f"WHERE e.position <= ? ORDER BY e.position DESC LIMIT {_READ}", (log.head().position,))
    last = [each for each in takewhile(_is_of_one_append, newest) if isinstance(each, e.RecordedEvent)]
    jobs = log.load_all({each.stream_id for each in last}) if last else {}
    last.sort(key=lambda each: (isinstance(each.event, _RESULTS), each.position))
    found = ((_fallen(each.event, jobs[each.stream_id]), each.position) for each in last)
    return {batch: position for batch, position in found if batch is not None}


def _is_of_one_append(found: e.RecordedEvent | DamagedEventError) -> bool:
    return isinstance(found, e.RecordedEvent) and isinstance(found.event, _ONE_APPEND)


def _fallen(event: e.Event, job: Job | DamagedEventError | None) -> str | None:
    """The batch whose pending jobs may have to be cancelled after this event."""
    batch = job.spec.batch if isinstance(job, Job) else None
    stopped_by_limit = isinstance(event, e.Cancelled) and event.reason.startswith(f"batch {batch}: more than ")
    return batch if stopped_by_limit or isinstance(event, _RESULTS) else None
