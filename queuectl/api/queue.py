"""`open_queue`, and the queue that it gives: what a Python program does with jobs, in one call each."""

import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self, Unpack

from queuectl.api.arguments import (
    as_ids,
    as_moment,
    as_queues,
    as_span,
    as_tags,
    as_texts,
    flag,
    id_of,
    limit_of,
    several,
)
from queuectl.api.connection import QueueConnection
from queuectl.api.options import (
    Command,
    Duration,
    JobOptions,
    JobSpec,
    Moment,
    as_changes,
    as_input,
    as_inputs,
)
from queuectl.api.records import Event, Failures, Job, Schedule, as_event, as_failures, as_job, as_schedule, from_row
from queuectl.application.editing import Edit, Editor
from queuectl.application.failures import Wanted, failures
from queuectl.application.job_fields import check_queue, text
from queuectl.application.job_input import JobReader, origin_here
from queuectl.application.job_json import JobInput
from queuectl.application.listing import Selection, job_filter, list_jobs
from queuectl.application.overview import SHOWN_STATES
from queuectl.application.own_job import own_jobs
from queuectl.application.queue import NewJob, Queue
from queuectl.application.schedules import Schedules
from queuectl.application.sweeps import Batch, batch_of
from queuectl.application.wait import wait
from queuectl.domain.job import Job as FoldedJob
from queuectl.domain.names import PAUSE_ALL
from queuectl.errors import NoSuchJobError, RefusedError, command_line
from queuectl.runtime import process_umask

__all__ = ["JobQueue", "open_queue"]


def open_queue(
    db: str | os.PathLike[str] | None = None,
    *,
    read_only: bool = False,
    as_of: Moment | int | None = None,
    actor: str | None = None,
) -> "JobQueue":
    """The queue at a path or URL; without one, the queue that `queuectl` would use here.

    Nothing is opened before the first call, and a queue that is not there is made by the first change. Settings come
    from the environment, `.env` and `queuectl config set`, as on the command line.
    `as_of`: the queue as it was at a time or a position of the log; it can only be read. `actor`: the name in the log
    of who makes the changes, instead of `user@host:pid`. Raises UsageError or StoreError.
    """
    return JobQueue(QueueConnection(db, read_only=flag("read_only", read_only), as_of=as_of, actor=actor))


class JobQueue:
    """A queue of jobs. Threads may share one. A process that forks closes it before, or has not used it yet.

    Where a job goes, its id or a `Job` is taken. Every method raises StoreError when the queue cannot be used.
    """

    def __init__(self, connection: QueueConnection) -> None:
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<JobQueue {self._connection.name}>"

    def close(self) -> None:
        """Give the queue back. It cannot be used afterwards."""
        self._connection.close()

    # ── adding jobs ─────────────────────────────────────────────────────────────────────────────────

    def enqueue(self, command: Command, **options: Unpack[JobOptions]) -> Job:
        """Add a job: a shell command, or a list with a program and its arguments. It is on disk when this returns.

        Options: `id`, `queue`, `priority`, `retries` (after the first attempt), `backoff_base`, `backoff_cap`,
        `jitter`, `delay` or `at`, `timeout` ("none" for no limit), `cwd`, `env`, `secret_env` (names of variables of
        the worker), `tags`, `batch` (its name), `max_failures` (of that batch), `after` (a job, or several, that it
        waits for: ids, jobs, or texts such as `"build:end"` and `"batch:grid"`), `if_unmet` ("hold" or "cancel"), and
        `unique`: while a job with that key waits or runs, that job is returned and none added.
        Raises UsageError, or RefusedError when another job has the id.
        """
        batch = _batch(options, many=False)
        return self._add([as_input(command, options)], batch)[0]

    def enqueue_many(self, jobs: Iterable[Command | JobSpec], **options: Unpack[JobOptions]) -> list[Job]:
        """Add all jobs or none, in one transaction. Each is a command, or a mapping with `command` and its options.

        `options` count for every job that has none of its own; with `batch` NAME the ids are NAME.1, NAME.2, …
        `max_failures`: once more than so many jobs of the batch have failed for good, its pending jobs are cancelled.
        Raises UsageError and RefusedError.
        """
        batch = _batch(options, many=True)
        return self._add(as_inputs(jobs, options), batch)

    def _add(self, inputs: Sequence[JobInput], batch: Batch | None) -> list[Job]:
        # an error in a job is reported before a queue is made for it
        first = None if self._connection.is_there() else self._read(inputs, batch, None)
        with self._connection.writing() as queue:
            jobs = self._read(inputs, batch, queue) if first is None else first
            receipts, added = queue.add(jobs, None if batch is None else batch.opening)
            waits = queue.store.waits
            return [
                as_job(added[each.id], waits) if each.id in added else _existing(queue, each.id) for each in receipts
            ]

    def _read(self, inputs: Sequence[JobInput], batch: Batch | None, queue: Queue | None) -> list[NewJob]:
        """The jobs, with the queue's settings for what was left out."""
        config, now, umask = self._connection.config(queue), self._connection.clock.now(), process_umask()
        reader = JobReader(config, now, umask=umask, environ=os.environ, origin=origin_here(queue))
        jobs = [*map(reader.from_input, inputs)]
        for note in reader.notes:
            self._connection.warn(note)
        return reader.resolved(queue, jobs if batch is None else batch.jobs(reader, lambda: jobs))

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────

    def job(self, job: str | Job) -> Job:
        """The job as it is now. Raises NoSuchJobError, also for a purged job: `history` still knows that."""
        job_id = id_of(job)
        with self._connection.reading() as queue:
            row = queue.store.tables.job(job_id)
            if row is None:
                raise NoSuchJobError(f"no such job: {job_id} (`{command_line('history', job_id)}` if it was purged)")
            return from_row(row)

    def jobs(
        self,
        *,
        state: str | Iterable[str] = (),
        queue: str | Iterable[str] = (),
        tag: str | Iterable[str] | Mapping[str, str] = (),
        since: Moment | None = None,
        batch: str | None = None,
        sort: str = "-created",
        limit: int = 0,
    ) -> list[Job]:
        """The jobs of these states, queues and tags (none: all), the newest first; at most `limit` (0: all).

        `batch` selects the jobs of that batch, `since` those that were added then or later. `state` also takes
        `failed`. `tag` is a mapping, or texts such as `team=web`. `sort` is a key of `queuectl list --sort`.
        Raises UsageError.
        """
        with self._connection.reading() as found:
            moment = None if since is None else as_moment("since", since, found.store.log.now())
            wanted = Selection(as_texts("state", state), as_queues(queue), as_tags(tag), moment, _batch_name(batch))
            selected = job_filter(wanted, text("sort", sort))
            return [from_row(row) for row in list_jobs(found, selected, limit_of(limit)).rows]

    def history(self, job: str | Job) -> list[Event]:
        """Every event of the job, also of a purged one. Raises NoSuchJobError."""
        job_id = id_of(job)
        with self._connection.reading() as queue:
            events = [as_event(record) for record in queue.store.log.records(stream_id=job_id)]
            if not events:
                raise NoSuchJobError.of(job_id)
            return events

    def counts(self, queue: str | None = None) -> dict[str, int]:
        """How many jobs there are in each state, in all queues or in one."""
        counts: dict[str, int] = {state.value: 0 for state in SHOWN_STATES}
        wanted = None if queue is None else check_queue(queue)
        with self._connection.reading() as found:
            for count in found.store.tables.counts():
                if wanted in (None, count.queue):
                    counts[count.state.value] += count.jobs
        return counts

    def schedules(self) -> list[Schedule]:
        """The schedules of recurring jobs, ordered by name."""
        with self._connection.reading() as found:
            return list(map(as_schedule, found.store.schedules.all()))

    def run_schedule(self, name: str) -> Job:
        """Add a job of a schedule now, outside its times. Returns the live job with its unique key, if there is one.

        Raises NoSuchJobError when there is no such schedule.
        """
        with self._connection.writing(make=False) as found:
            job_id, _ = Schedules(found).run(text("name", name))
            return _existing(found, job_id)

    def failures(
        self,
        *,
        since: Moment | None = None,
        queue: str | Iterable[str] = (),
        tag: str | Iterable[str] | Mapping[str, str] = (),
        batch: str | None = None,
        attempts: bool = False,
        flaky: bool = False,
    ) -> list[Failures]:
        """The dead jobs of these queues and tags (none: all) by what went wrong, the most frequent first.

        `batch` selects the jobs of that batch, `since` those that died then or later. `attempts` counts every failed
        attempt, `flaky` only those of jobs that completed later; both read the log. Raises UsageError.
        """
        with self._connection.reading() as found:
            moment = None if since is None else as_moment("since", since, found.store.log.now())
            selected = Selection((), as_queues(queue), as_tags(tag), moment, _batch_name(batch))
            wanted = Wanted(selected, flag("attempts", attempts), flag("flaky", flaky))
            return list(map(as_failures, failures(found, wanted)))

    # ── waiting ─────────────────────────────────────────────────────────────────────────────────────

    def wait(self, job: str | Job, *, timeout: Duration | None = None) -> Job:
        """Wait until the job has ended; the job as it ended, whatever its outcome: see `succeeded`, `exit_code`.

        Raises WaitTimedOutError after `timeout`, NoSuchJobError, or RefusedError inside the job itself.
        """
        return self.wait_many([job], timeout=timeout)[0]

    def wait_many(self, jobs: Iterable[str | Job], *, timeout: Duration | None = None) -> list[Job]:
        """Wait until all the jobs have ended; in the order given. Raises as `wait` does."""
        ids, clock = [*map(id_of, several("jobs", jobs, "ids or jobs"))], self._connection.clock
        until = None if timeout is None else clock.monotonic() + as_span("timeout", timeout)
        with self._connection.reading() as queue:
            for own in own_jobs(queue, os.environ):
                if own in ids:
                    raise RefusedError(f"job {own} would wait for itself: leave it out")
            return [as_job(job, queue.store.waits) for job in wait(queue, ids, clock, until)]

    # ── moving jobs ─────────────────────────────────────────────────────────────────────────────────

    def cancel(self, job: str | Job, *, reason: str = "") -> Job:
        """Cancel a job: a pending one at once, a running one is stopped by its worker soon after.

        Raises NoSuchJobError, or RefusedError when it has ended.
        """
        return self.cancel_many([job], reason=reason)[0]

    def cancel_many(self, jobs: Iterable[str | Job], *, reason: str = "") -> list[Job]:
        """Cancel all the jobs or none. Raises as `cancel` does."""
        ids, why = as_ids(jobs), text("reason", reason)
        with self._connection.writing(make=False) as queue:
            return _moved(queue, queue.cancel(ids, why))

    def retry(self, job: str | Job, *, reason: str = "") -> Job:
        """Run an ended job again, also a cancelled or purged one: it is pending at once, with 0 attempts.

        Raises NoSuchJobError, or RefusedError when it has not ended.
        """
        return self.retry_many([job], reason=reason)[0]

    def retry_many(self, jobs: Iterable[str | Job], *, reason: str = "") -> list[Job]:
        """Run all the jobs again or none. Raises as `retry` does."""
        ids, why = as_ids(jobs), text("reason", reason)
        with self._connection.writing(make=False) as queue:
            return _moved(queue, queue.requeue(ids, why))

    # ── changing jobs ───────────────────────────────────────────────────────────────────────────────

    def edit(
        self,
        job: str | Job,
        *,
        command: Command | None = None,
        now: bool = False,
        unset_env: Iterable[str] = (),
        reason: str = "",
        **options: Unpack[JobOptions],
    ) -> Job:
        """Change a pending job: the options of `enqueue`, but for `id` and `unique`. `now`: it is due at once.

        `env` and `tags` are added to those of the job. Raises NoSuchJobError, UsageError, or RefusedError when the job
        is not pending any more.
        """
        changes = Edit(as_changes(command, options), as_texts("unset_env", unset_env), flag("now", now))
        job_id, why = id_of(job), text("reason", reason)
        with self._connection.writing(make=False) as queue:
            ((_, found),) = Editor(queue, self._connection.config(queue)).edit([job_id], changes, why)
            return as_job(found, queue.store.waits)

    def copy(
        self,
        job: str | Job,
        *,
        command: Command | None = None,
        unset_env: Iterable[str] = (),
        **options: Unpack[JobOptions],
    ) -> Job:
        """Add a job like another one, in any state, with other options. It is due at once, and has no unique key.

        Raises NoSuchJobError, UsageError, or RefusedError when another job has the id.
        """
        changes, job_id = Edit(as_changes(command, options, new=True), as_texts("unset_env", unset_env)), id_of(job)
        with self._connection.writing(make=False) as queue:
            new = Editor(queue, self._connection.config(queue)).copy(job_id, changes)
            return _existing(queue, queue.enqueue([new])[0].id)

    # ── pausing ─────────────────────────────────────────────────────────────────────────────────────

    def pause(self, queue: str | None = None) -> bool:
        """Start no more jobs of this queue, or of any; running ones finish. False when it was paused already."""
        with self._connection.writing() as found:
            return found.pause(PAUSE_ALL if queue is None else check_queue(queue))

    def resume(self, queue: str | None = None) -> bool:
        """Undo `pause` with the same argument. False when it was not paused."""
        with self._connection.writing(make=False) as found:
            return found.resume(PAUSE_ALL if queue is None else check_queue(queue))


def _batch(options: JobOptions, *, many: bool) -> Batch | None:
    """The batch that options name, which are taken away from them. Raises UsageError."""
    name, max_failures = options.pop("batch", None), options.pop("max_failures", None)
    return None if name is None and max_failures is None else batch_of(name, max_failures, many=many)


def _batch_name(given: str | None) -> str | None:
    return None if given is None else text("batch", given)


def _existing(queue: Queue, job_id: str) -> Job:
    """The job, a moment after it was added: someone may have purged it already."""
    row = queue.store.tables.job(job_id)
    if row is None:
        raise NoSuchJobError.of(job_id)
    return from_row(row)


def _moved(queue: Queue, jobs: Iterable[FoldedJob | None]) -> list[Job]:
    return [as_job(job, queue.store.waits) for job in jobs if job is not None]
