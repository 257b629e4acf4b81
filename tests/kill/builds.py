"""Builds with a defect that the campaigns must notice; each is called in the process that gets the defect."""

import os
from collections.abc import Sequence

from queuectl.application.queue import NewJob, Queue
from queuectl.process.job_lock import LockFile
from queuectl.process.orphans import LostRuns
from queuectl.runtime import new_id

__all__ = ["acknowledge_before_commit", "without_locks"]


def acknowledge_before_commit() -> None:
    """`enqueue` prints the id before the commit."""
    enqueue = Queue.enqueue

    def hasty(self: Queue, jobs: Sequence[NewJob], *rest: object) -> object:
        named = [NewJob(job.spec, job.id or new_id(self.store.log.now()), job.line) for job in jobs]
        os.write(1, "".join(f"{job.id}\n" for job in named if job.spec.unique is None).encode())
        return enqueue(self, named, *rest)  # type: ignore[arg-type]

    Queue.enqueue = hasty  # type: ignore[assignment,method-assign]


def without_locks() -> None:
    """A lost job is freed without a check of its processes, and runs although its lock is held."""
    LockFile.take = lambda self, position: os.open(self.path, os.O_RDWR | os.O_CLOEXEC)  # type: ignore[method-assign]
    LostRuns.clear = lambda self, job: True  # type: ignore[method-assign]
