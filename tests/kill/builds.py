"""Builds with a defect that the campaigns must notice; each is called in the process that gets the defect."""

import os
from collections.abc import Sequence
from unittest.mock import patch

from queuectl.application.queue import NewJob, Queue
from queuectl.domain.job import Job
from queuectl.domain.reactions import View
from queuectl.process.job_lock import LockFile
from queuectl.process.orphans import LostRuns
from queuectl.runtime import new_id
from queuectl.store.rows import Change
from queuectl.store.sql.writer import Writer

__all__ = ["acknowledge_before_commit", "append_apart", "consequences_apart", "follow_up", "without_locks"]


def acknowledge_before_commit() -> None:
    """`enqueue` prints the id before the commit."""
    add = Queue.add

    def hasty(self: Queue, jobs: Sequence[NewJob], *rest: object) -> object:
        named = [NewJob(job.spec, job.id or new_id(self.store.log.now()), job.line) for job in jobs]
        os.write(1, "".join(f"{job.id}\n" for job in named if job.spec.unique is None).encode())
        return add(self, named, *rest)  # type: ignore[arg-type]

    Queue.add = hasty  # type: ignore[assignment,method-assign]


def consequences_apart() -> None:
    """The consequences of an event are appended in a transaction of their own."""
    Writer.append = append_apart  # type: ignore[method-assign]


_append = Writer.append


def append_apart(writer: Writer, changes: Sequence[Change], actor: str) -> list[Job | None]:
    """`Writer.append` of that build."""
    views: list[View] = []

    def later(writer: Writer, view: View, actor: str) -> dict[str, Job]:
        views.append(view)
        writer.note_reactive()
        return {}

    with patch.object(Writer, "_react", later):
        done = _append(writer, changes, actor)
    for view in views:
        follow_up(writer, view, actor)
    return done


def follow_up(writer: Writer, view: View, actor: str) -> None:
    """The second transaction of that build."""
    with writer.transaction():
        writer._react(view, actor)


def without_locks() -> None:
    """A lost job is freed without a check of its processes, and runs although its lock is held."""
    LockFile.take = lambda self, position: os.open(self.path, os.O_RDWR | os.O_CLOEXEC)  # type: ignore[method-assign]
    LostRuns.clear = lambda self, job: True  # type: ignore[method-assign]
