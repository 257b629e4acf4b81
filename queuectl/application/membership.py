"""Whether a filter selects a job, asked for one job after the other: also for purged jobs, which have no row."""

from collections.abc import Mapping

from msgspec.structs import replace

from queuectl.domain.job import Job
from queuectl.domain.names import batch_stream, queue_stream
from queuectl.render.job_cells import tags_in
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter

__all__ = ["Members"]


class Members:
    """The streams of the jobs that the queues, tags and batch of a filter select; with states only jobs in them now.

    With a batch alone, the notes on it belong to them too, and with queues alone those on the queues.
    """

    def __init__(self, store: Store, wanted: JobFilter) -> None:
        self._store, self._wanted = store, wanted
        by_state = bool(wanted.states or wanted.failed or wanted.held)
        self._chosen = set(store.tables.ids(replace(wanted, limit=0))) if by_state else None
        self._known = dict.fromkeys(_notes(wanted), True)

    def has(self, stream_id: str) -> bool:
        """Whether the stream belongs to them."""
        if self._chosen is not None:
            return stream_id in self._chosen
        if stream_id not in self._known:
            self._known[stream_id] = not stream_id.startswith("$") and self._selects(stream_id)
        return self._known[stream_id]

    def _selects(self, job_id: str) -> bool:
        row = self._store.tables.job(job_id)
        if row is not None:
            return self._fits(row["queue"], row["batch"], tags_in(row["tags"]))
        job = self._store.log.load_all([job_id])[job_id]
        if not isinstance(job, Job):
            return False
        return self._fits(job.spec.queue, job.spec.batch, job.spec.tags)

    def _fits(self, queue: str, batch: str | None, tags: Mapping[str, str]) -> bool:
        wanted = self._wanted
        if (wanted.queues and queue not in wanted.queues) or wanted.batch not in (None, batch):
            return False
        return wanted.tags.items() <= tags.items()


def _notes(wanted: JobFilter) -> list[str]:
    """The streams of notes on the batch or the queues that are all that the filter asks for."""
    if wanted.tags or (wanted.queues and wanted.batch is not None):
        return []
    return [*map(queue_stream, wanted.queues), *([] if wanted.batch is None else [batch_stream(wanted.batch)])]
