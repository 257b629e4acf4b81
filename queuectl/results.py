"""Results of ended runs on their way to the log: kept until they are recorded, and recorded together."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from queuectl.application import Queue
from queuectl.domain.commands import Command
from queuectl.domain.job import Job
from queuectl.errors import NoSuchJobError, NotArchivedError, RefusedError
from queuectl.store.base import DamagedEventError

__all__ = ["GROUP_FOR", "Results"]

GROUP_FOR = 10_000
"""Microseconds that a result waits for others, so that one sync of the disk serves them all."""

log = logging.getLogger("queuectl.worker")


@dataclass(slots=True)
class Results:
    """The results that one worker has not recorded yet, by job."""

    queue: Queue
    waiting: dict[str, tuple[Command, Job]] = field(default_factory=dict)
    _since: int = 0

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
        """Append all to the log; the jobs that result. One damaged job does not keep the results of the others."""
        results = list(self.waiting.values())
        try:
            return self._record(results)
        except (RefusedError, NoSuchJobError, DamagedEventError):
            return [job for result in results for job in self._record_alone(result)]

    def _record(self, results: Sequence[tuple[Command, Job]]) -> list[Job]:
        known = {job.id: job for _, job in results}
        try:
            jobs = self.queue.execute([result for result, _ in results], known)
        except NotArchivedError:
            self._drop(results)  # they are recorded, only not twice
            raise
        self._drop(results)
        return [job for job in jobs if job is not None]

    def _drop(self, results: Sequence[tuple[Command, Job]]) -> None:
        for _, job in results:
            del self.waiting[job.id]

    def _record_alone(self, result: tuple[Command, Job]) -> list[Job]:
        try:
            return self._record([result])
        except (RefusedError, NoSuchJobError, DamagedEventError) as error:
            log.error("job %s: its result cannot be recorded: %s", result[1].id, error)
            del self.waiting[result[1].id]
            return []

    def lament(self) -> None:
        """Say what is lost with this worker."""
        for job_id, (result, _) in self.waiting.items():
            log.error("job %s: its result could not be recorded: %s", job_id, result)
