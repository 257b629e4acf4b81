"""The limit of failures of a batch: when it is exceeded, the pending jobs of the batch are to be cancelled."""

from collections.abc import Iterable, Iterator
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


def stopped(engine: Engine, log: Log, batches: Iterable[str]) -> Iterator[Lost]:
    """The pending jobs of those of these batches whose limit is exceeded. The caller holds the log's lock."""
    for batch in batches:
        limit = exceeded_limit(log, Batches(engine), batch)
        if limit is not None:
            why = why_stopped(batch, limit)
            yield from (Lost(job_id, why) for job_id, _ in engine.run(_PENDING, (batch,)))


def fallen_at_the_end(log: Log) -> list[str]:
    """The batches that the last events of a log are about: its end may lack what follows from a failure."""
    newest = log.examined_where(f"WHERE e.position <= ? ORDER BY e.position DESC LIMIT {_READ}", (log.head().position,))
    last = [each for each in takewhile(_is_of_one_append, newest) if isinstance(each, e.RecordedEvent)]
    jobs = log.load_all({each.stream_id for each in last}) if last else {}
    found = (_fallen(each.event, jobs[each.stream_id]) for each in last)
    return list(dict.fromkeys(batch for batch in found if batch is not None))


def _is_of_one_append(found: e.RecordedEvent | DamagedEventError) -> bool:
    return isinstance(found, e.RecordedEvent) and isinstance(found.event, _ONE_APPEND)


def _fallen(event: e.Event, job: Job | DamagedEventError | None) -> str | None:
    """The batch whose pending jobs may have to be cancelled after this event."""
    batch = job.spec.batch if isinstance(job, Job) else None
    stopped_by_limit = isinstance(event, e.Cancelled) and event.reason.startswith(f"batch {batch}: more than ")
    return batch if stopped_by_limit or isinstance(event, _RESULTS) else None
