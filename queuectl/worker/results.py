"""Results of ended runs on their way to the log: kept until they are recorded, and recorded together."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from queuectl.application.queue import Queue
from queuectl.domain.commands import Command
from queuectl.domain.events import RecordedEvent, ResultRejected
from queuectl.domain.job import Job
from queuectl.errors import NoSuchJobError, NotArchivedError, RefusedError
from queuectl.store.protocol import DamagedEventError

__all__ = ["GROUP_FOR", "Results"]

GROUP_FOR = 10_000
"""Microseconds that a result waits for others, so that one sync of the disk serves them all."""

log = logging.getLogger("queuectl.worker.loop")


@dataclass(slots=True)
class Results:
    """The results that one worker has not recorded yet, by job."""

    queue: Queue
    waiting: dict[str, tuple[Command, Job]] = field(default_factory=dict)
    _since: int = 0
    _rejected: list[str] = field(default_factory=list)
    _unarchived: NotArchivedError | None = None

    def add(self, result: Command, job: Job, now: int) -> None:
        """Keep a result; `job` is as its run was claimed."""
        if not self.waiting:
            self._since = now
        self.waiting[job.id] = (result, job)

    @property
    def due_at(self) -> int | None:
        """When they are to be recorded at the latest."""
        return self._since + GROUP_FOR if self.waiting else None

    def record(self) -> list[Job]:
        """Append all to the log; the jobs that were moved. One damaged job does not keep the results of the others."""
        jobs: list[Job] = []
        with self.recorded(jobs):
            pass
        self.complain()
        return jobs

    @contextmanager
    def recorded(self, jobs: list[Job]) -> Iterator[None]:
        """The same in one transaction with what the caller does: one turn at the log's lock, one sync, for both.

        They are kept until it has been committed. What was committed but not archived is told by `complain`.
        """
        results = list(self.waiting.values())
        self._rejected.clear()
        try:
            with self.queue.store.transaction():
                jobs += self._append(results)
                yield
        except NotArchivedError as error:
            self._unarchived = error
        self._drop(results)
        for rejected in self._rejected:
            log.warning("%s", rejected)

    def _append(self, results: Sequence[tuple[Command, Job]]) -> list[Job]:
        known = {job.id: job for _, job in results}
        try:
            after = self.queue.execute([result for result, _ in results], known)
        except (RefusedError, NoSuchJobError, DamagedEventError) as error:
            if len(results) > 1:
                return [job for result in results for job in self._append([result])]
            log.error("job %s: its result cannot be recorded: %s", *known, error)
            return []
        return [job for job in after if job is not None and self._landed(known[job.id], job)]

    def _landed(self, claimed: Job, job: Job) -> bool:
        """Whether a result moved its job. Rejected ones are kept to be told: what the job is now is others' doing."""
        if job.version == claimed.version + 1:  # nothing stands between claim and result
            return True
        sound = [each.event for each in self.queue.store.examined(stream_id=job.id) if isinstance(each, RecordedEvent)]
        if not any(isinstance(event, ResultRejected) and event.run == claimed.run for event in sound):
            return True
        now = f"run {job.run} is current" if job.run > claimed.run else f"the job is {job.state}"
        self._rejected.append(f"job {job.id} run {claimed.run}: its result was rejected, {now}")
        return False

    def complain(self) -> None:
        """Raises the NotArchivedError of what was recorded before."""
        if (error := self._unarchived) is not None:
            self._unarchived = None
            raise error

    def _drop(self, results: Sequence[tuple[Command, Job]]) -> None:
        for _, job in results:
            del self.waiting[job.id]

    def lament(self) -> None:
        """Say what is lost with this worker."""
        for job_id, (result, _) in self.waiting.items():
            log.error("job %s: its result could not be recorded: %s", job_id, result)
