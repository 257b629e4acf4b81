"""Results of ended runs: kept until they are recorded in the log, several at once."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct, field

from queuectl.application.queue import Queue
from queuectl.domain.cause_text import short_cause
from queuectl.domain.commands import Command, Exit, Release, Report
from queuectl.domain.events import RecordedEvent, ResultRejected
from queuectl.domain.job import Job
from queuectl.errors import NoSuchJobError, RefusedError
from queuectl.store.batch_limits import exceeded_limit, limit_of
from queuectl.store.errors import DamagedEventError
from queuectl.worker.ahead import ClaimedJob
from queuectl.worker.log import log

__all__ = ["GROUP_FOR", "Recorded", "Result", "Results", "parts"]

GROUP_FOR = 10_000
"""Microseconds between transactions: results wait for others, so that one sync of the disk serves all of them."""


class Result(Struct, frozen=True, eq=False):
    """How a run ended, and the job as it was when claimed. `had_started` is False for a job that is given back.

    `ended_at` is the moment at which the worker saw its end (microseconds, monotonic).
    """

    command: Command
    job: Job
    ended_at: int
    had_started: bool = True

    def __str__(self) -> str:
        """The exit code, the cause of a failure, or the reason to put the job back."""
        if isinstance(self.command, Release):
            return self.command.reason
        end = self.command.exit if isinstance(self.command, Report) else Exit()
        return "exit 0" if end.cause is None else short_cause(end.cause, end.stderr)

    @property
    def fails_in(self) -> str | None:
        """The batch in which the job goes to the dead-letter queue."""
        failed = isinstance(self.command, Report) and self.command.exit.cause is not None
        return self.job.spec.batch if failed and self.job.has_no_retry else None


class Rejected(Struct, frozen=True, eq=False):
    """A result that changed nothing because its run is no longer the current one, and why."""

    result: Result
    why: str

    def log(self) -> None:
        """Log it."""
        job = self.result.job
        log.warning("job %s run %d: its result was rejected, %s", job.id, job.run, self.why)


def parts(results: Sequence[Result], size: int) -> Iterator[Sequence[Result]]:
    """The results in parts of at most this size."""
    return (results[start : start + size] for start in range(0, len(results), size))


Recorded: TypeAlias = tuple[Result, Job]
"""A result and the job after it."""


class Results(Struct):
    """The results that one worker has not recorded yet, by job.

    `stalled`: the batches with a limit of failures of which a job goes to the dead-letter queue with these results. It
    may be one failure too many, so none of the batch's jobs is started before it is recorded, which is done at once.
    """

    queue: Queue
    waiting: dict[str, Result] = field(default_factory=dict)
    stalled: set[str] = field(default_factory=set)
    _limited: set[str] = field(default_factory=set)
    _looked_up: set[str] = field(default_factory=set)
    _since: int = 0
    _recorded_at: int = 0

    def add(self, command: Command, job: Job, now: int) -> None:
        """Add a result. `job` is the job as it was when this run was claimed."""
        if not self.waiting:
            self._since = now if now - self._recorded_at > GROUP_FOR else self._recorded_at
        self.waiting[job.id] = result = Result(command, job, now)
        self.stalled |= self._limited & {result.fails_in}
        if self.stalled:
            self._since = now - GROUP_FOR

    def look_up_limits(self, claimed: Iterable[Job]) -> None:
        """Find out which of these jobs belong to batches with a limit of failures."""
        new = {job.spec.batch for job in claimed if job.spec.batch is not None} - self._looked_up
        self._looked_up |= new
        self._limited -= new
        self._limited |= {batch for batch in new if limit_of(self.queue.store.log, batch) is not None}

    def limits_may_have_changed(self) -> None:
        """Look the limits up again for the next jobs that are claimed."""
        self._looked_up.clear()

    def give_back(self, claimed: ClaimedJob, why: str, now: int) -> None:
        """Add a job that was not started, to be put back at once instead of waiting for other results."""
        job, due_at = claimed.job, claimed.due_at
        self.waiting[job.id] = Result(Release(job.id, job.run, why, due_at=due_at), job, now, had_started=False)
        self._since = now - GROUP_FOR

    @property
    def due_at(self) -> int | None:
        """When the results must be recorded; None when there are none."""
        return self._since + GROUP_FOR if self.waiting else None

    def append(self, results: Sequence[Result]) -> list[Recorded | Rejected]:
        """Append results to the log in the open transaction. A damaged job does not block the results of others."""
        if not results:
            return []
        known = {result.job.id: result.job for result in results}
        try:
            after = self.queue.execute([result.command for result in results], known)
        except (RefusedError, NoSuchJobError, DamagedEventError) as error:
            if len(results) > 1:
                return [each for result in results for each in self.append([result])]
            log.error("job %s: its result cannot be recorded: %s", *known, error)
            return []
        return [self._landed(result, job) for result, job in zip(results, after, strict=True) if job is not None]

    def _landed(self, result: Result, job: Job) -> Recorded | Rejected:
        """Find out whether a result changed its job or was rejected, because another run is current by now."""
        claimed = result.job
        if job.version == claimed.version + 1:  # nothing came between claim and result
            return result, job
        sound = [
            each.event for each in self.queue.store.log.examined(stream_id=job.id) if isinstance(each, RecordedEvent)
        ]
        if not any(isinstance(event, ResultRejected) and event.run == claimed.run for event in sound):
            return result, job
        return Rejected(result, f"run {job.run} is current" if job.run > claimed.run else f"the job is {job.state}")

    def stopped_batches(self) -> set[str]:
        """The `stalled` batches that have exceeded their limit. The open transaction holds the results."""
        store = self.queue.store
        return {each for each in self.stalled if exceeded_limit(store.log, store.batches, each) is not None}

    def remove(self, results: Sequence[Result], now: int) -> None:
        """Remove recorded results. For those that came meanwhile, the wait for others starts now."""
        for result in results:
            del self.waiting[result.job.id]
        if self.stalled:
            self.stalled = self._limited & {each.fails_in for each in self.waiting.values()}
        self._recorded_at = now
        self._since = now - GROUP_FOR if self.stalled else now

    @property
    def of_runs(self) -> bool:
        """Whether any of the results is that of a run that had started."""
        return any(result.had_started for result in self.waiting.values())

    def log_lost(self) -> None:
        """Log each result that is lost because this worker ends before it could record it."""
        for job_id, result in self.waiting.items():
            if result.had_started:
                log.error(
                    "job %s run %d: its result could not be recorded (%s): the next worker takes the run for lost",
                    *(job_id, result.job.run, result),
                )
