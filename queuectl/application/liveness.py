"""Whether a worker is alive: by its process or, if we cannot see that, by its lock in the lock file."""

from queuectl.domain.events import Claimed, RecordedEvent, WorkerStarted
from queuectl.domain.names import worker_stream
from queuectl.process import procfs
from queuectl.process.job_lock import works_here
from queuectl.runtime import boot_id
from queuectl.store.protocol import Store
from queuectl.store.rows import WorkerRow

__all__ = ["is_alive", "jobs_running_here", "lock_file_of"]


def is_alive(store: Store, who: Claimed | WorkerRow) -> bool | None:
    """Whether a worker is alive; None if we cannot tell from here."""
    seen = procfs.alive(who, store.location.reach)
    if seen is not None or who.boot_id != boot_id():
        return seen
    identity = lock_file_of(store, who)
    return works_here(store.location.output_folder, identity, who) if identity else None


def lock_file_of(store: Store, who: Claimed | WorkerRow) -> str:
    """The identity of the lock file that has the worker's lock; empty if the worker's start is not in the log."""
    name = who.name if isinstance(who, WorkerRow) else who.worker
    found = ""
    for record in store.log.examined(stream_id=worker_stream(name)):
        if isinstance(record, RecordedEvent) and isinstance(record.event, WorkerStarted):
            started = record.event
            found = started.lock_file if (started.host, started.pid) == (who.host, who.pid) else found
    return found


def jobs_running_here(store: Store) -> list[str]:
    """The ids of the jobs that are claimed by a living process on this machine."""
    jobs = (store.log.load(job_id) for job_id, _ in store.tables.processing())
    return [job.id for job in jobs if job and job.claim and procfs.alive(job.claim, store.location.reach)]
