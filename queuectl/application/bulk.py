"""Moves of many jobs at once, in batches, and the removal of a purged job's output files.

A bulk move changes every job that it can. Its result maps the id of each other job to the reason.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from queuectl.application.editing import Edit, Editor
from queuectl.application.job_fields import check_queue
from queuectl.application.listing import Selection, narrowed
from queuectl.application.queue import Queue
from queuectl.application.state_words import state_filter
from queuectl.domain.machine import FINISHED, LIVE, State
from queuectl.errors import QueuectlError, RefusedError, UsageError, command_line
from queuectl.process import output_files
from queuectl.store.rows import JobFilter

__all__ = [
    "Left",
    "cancel_all",
    "dead_letters",
    "finished",
    "of_batch",
    "purge_all",
    "purge_named",
    "retry_all",
    "retry_all_changed",
    "selected",
    "unfinished",
]

Left: TypeAlias = dict[str, QueuectlError]

BATCH = 1000
"""Jobs moved in one transaction. Workers wait for the log's lock meanwhile, so it must be short."""


def unfinished(queue: Queue, selected: Selection) -> list[str]:
    """Ids of the selected jobs that can be cancelled or waited for (no states: all of those). Raises UsageError."""
    return _ids(queue, selected, _in_states(selected, LIVE, "jobs that have not ended are"))


def finished(queue: Queue, selected: Selection, older_than: int | None = None) -> list[str]:
    """Ids of the selected jobs that have ended (no states: all), so many microseconds ago. Raises UsageError.

    Their rows have the log's time, so that counts, also while it is ahead of the wall clock.
    """
    ended_by = None if older_than is None else queue.store.log.now() - older_than
    wanted = _in_states(selected, FINISHED, "finished jobs are")
    return _ids(queue, selected, replace(wanted, ended_by=ended_by))


def selected(queue: Queue, wanted: JobFilter, *, live: bool) -> list[str]:
    """Ids of the jobs of a filter that have not ended (`live`), or of those that have."""
    among = LIVE if live else FINISHED
    states = tuple(state for state in wanted.states or among if state in among)
    return queue.store.tables.ids(replace(wanted, states=states, limit=0)) if states else []


def pending(queue: Queue, wanted: JobFilter) -> list[str]:
    """Ids of the pending jobs of a filter."""
    if State.PENDING not in (wanted.states or LIVE):
        return []
    return queue.store.tables.ids(replace(wanted, states=(State.PENDING,), limit=0))


def _in_states(selected: Selection, among: Sequence[State], why: str) -> JobFilter:
    """The filter for the selected states, for all of `among` when none is. Raises UsageError for another state."""
    return state_filter(selected.states, among, why) if selected.states else JobFilter(states=tuple(among))


def _ids(queue: Queue, selected: Selection, wanted: JobFilter) -> list[str]:
    for name in selected.queues:
        check_queue(name)
    return queue.store.tables.ids(replace(narrowed(wanted, selected), descending=False, limit=0))


def of_batch(queue: Queue, batch: str) -> list[str]:
    """Ids of all jobs of a batch that are not purged. Raises UsageError when it has none."""
    found = queue.store.tables.ids(JobFilter(batch=batch, descending=False, limit=0))
    if not found:
        raise UsageError(f"there is no batch {batch} (`{command_line('batches')}` lists the batches)")
    return found


def dead_letters(queue: Queue, texts: Sequence[str]) -> list[str]:
    """Whole ids of dead jobs. Raises RefusedError for a job that is not in the dead-letter queue."""
    found = queue.resolve(texts)
    for job_id in found:
        if not queue.store.tables.dlq(job_id):
            job = queue.store.log.load(job_id)
            state = job.state if job else "gone"
            raise RefusedError(f"job {job_id} is {state}, not dead: see `{command_line('history', job_id)}`")
    return found


def cancel_all(queue: Queue, ids: Sequence[str], reason: str) -> Left:
    """Cancel every job that can be cancelled."""
    return _in_batches(ids, lambda batch: queue.cancel_those_that_can(batch, reason))


def retry_all(queue: Queue, ids: Sequence[str], reason: str) -> Left:
    """Run every job again that can be retried."""
    return _in_batches(ids, lambda batch: queue.requeue_those_that_can(batch, reason))


def retry_all_changed(editor: Editor, ids: Sequence[str], edit: Edit, reason: str, spread: int) -> Left:
    """Run every job again that can be retried, with changes, and due one after the other within `spread` (us)."""
    delays = {job_id: spread * place // len(ids) for place, job_id in enumerate(ids)}
    return _in_batches(ids, lambda batch: editor.retry_those_that_can(batch, edit, reason, delays))


def purge_all(queue: Queue, ids: Sequence[str], reason: str) -> Left:
    """Purge every job that can be purged."""
    return _in_batches(ids, lambda batch: _purge_batch(queue, batch, reason))


def purge_named(queue: Queue, ids: Sequence[str], reason: str) -> None:
    """Purge all these jobs, or none."""
    queue.purge(ids, reason)
    _remove_output(queue, ids)


def _in_batches(ids: Sequence[str], move: Callable[[Sequence[str]], Left]) -> Left:
    left = Left()
    for start in range(0, len(ids), BATCH):
        left |= move(ids[start : start + BATCH])
    return left


def _purge_batch(queue: Queue, ids: Sequence[str], reason: str) -> Left:
    left = queue.purge_those_that_can(ids, reason)
    _remove_output(queue, [job_id for job_id in ids if job_id not in left])
    return left


def _remove_output(queue: Queue, ids: Sequence[str]) -> None:
    for job_id in ids:
        output_files.remove(queue.store.location.output_folder, job_id)
