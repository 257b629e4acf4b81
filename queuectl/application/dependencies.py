"""Dependencies as people write them: read, and turned into whole ids of jobs and names of batches that exist."""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from queuectl.application.dependency_cycles import refuse_cycles_through_batches
from queuectl.application.job_ids import batch_exists, resolve
from queuectl.application.queue import NewJob, Queue
from queuectl.domain.dependencies import BATCH, JOB
from queuectl.domain.events import After
from queuectl.domain.names import batch_stream, is_id
from queuectl.domain.reactions import MOST_WAITING
from queuectl.errors import NoSuchJobError, RefusedError, UsageError, command_line

__all__ = ["named", "resolved"]

MOST = 10_000
"""Dependencies of one job."""


def resolved(queue: Queue | None, jobs: Sequence[NewJob]) -> list[NewJob]:
    """The jobs, with whole ids in what they wait for; without a queue only earlier ones of these can be meant.

    Raises what `named` raises, and UsageError when a job would wait for its own batch.
    """
    if not any(job.spec.after for job in jobs):
        return list(jobs)
    found = named(queue, jobs)
    refuse_cycles_through_batches(None if queue is None else queue.store, found)
    return found


def named(queue: Queue | None, jobs: Sequence[NewJob]) -> list[NewJob]:
    """The jobs, with whole ids in what they wait for.

    Raises NoSuchJobError, UsageError for a later one, itself, or too many, DamagedEventError, and RefusedError when
    too many jobs would wait for the same one.
    """
    return _Resolver(queue, jobs).jobs()


class _Resolver:
    """Resolves the dependencies of jobs that are added together."""

    def __init__(self, queue: Queue | None, jobs: Sequence[NewJob]) -> None:
        self._queue, self._jobs = queue, jobs
        self._places = {job.id: number for number, job in reversed([*enumerate(jobs)]) if job.id is not None}
        self._batches = {job.spec.batch: number for number, job in reversed([*enumerate(jobs)]) if job.spec.batch}
        self._known: dict[tuple[str, str], str] = {}
        self._crowds: dict[tuple[str, str], int] = {}

    def jobs(self) -> list[NewJob]:
        return [self._resolved(number, job) if job.spec.after else job for number, job in enumerate(self._jobs)]

    def _resolved(self, number: int, job: NewJob) -> NewJob:
        try:
            edges = tuple(dict.fromkeys(self._edge(number, job, edge) for edge in job.spec.after))
            self._check_crowds(edges)
        except (NoSuchJobError, UsageError, RefusedError) as error:
            if job.line is None:
                raise
            raise type(error)(f"line {job.line}: {error}") from None
        if len(edges) > MOST:
            raise UsageError(f"a job can wait for at most {MOST} others, not {len(edges)}: give those a batch")
        return replace(job, spec=replace(job.spec, after=edges))

    def _edge(self, number: int, job: NewJob, edge: After) -> After:
        key = (edge.kind, edge.name)
        places = self._places if edge.kind == JOB else self._batches
        if (place := places.get(edge.name)) is not None and place < number:
            return edge
        if edge.kind == JOB and edge.name == job.id:
            raise UsageError(f"job {job.id} cannot wait for itself")
        if place is not None and edge.kind == JOB and not self._exists(edge.name):
            later = self._jobs[place]
            where = f"names line {later.line}" if later.line is not None else f"waits for {edge.name}, a later job"
            raise UsageError(f"it {where}: move that one up")
        if key not in self._known:
            self._known[key] = self._find(edge)
        return replace(edge, name=self._known[key])

    def _exists(self, job_id: str) -> bool:
        return self._queue is not None and self._queue.store.log.version(job_id) > 0

    def _find(self, edge: After) -> str:
        if self._queue is None:
            raise _unknown(edge)
        return self._batch(self._queue, edge) if edge.kind == BATCH else self._job(self._queue, edge.name)

    def _job(self, queue: Queue, text: str) -> str:
        try:
            [found] = resolve(queue.store, queue.actor, [text])
        except (UsageError, NoSuchJobError):
            if not batch_exists(queue.store, text):
                raise
            raise UsageError(f"{text} is a batch, not a job: write batch:{text} to wait for all its jobs") from None
        queue.store.log.load(found)  # a damaged one cannot be waited for
        return found

    def _batch(self, queue: Queue, edge: After) -> str:
        if not is_id(edge.name):
            raise _unknown(edge)
        if not batch_exists(queue.store, edge.name) and not queue.store.log.version(batch_stream(edge.name)):
            raise _unknown(edge)
        return edge.name

    def _check_crowds(self, edges: Iterable[After]) -> None:
        for edge in edges:
            key = (edge.kind, edge.name)
            if key not in self._crowds:
                self._crowds[key] = 0 if self._queue is None else self._queue.store.waits.crowd(*key)
            self._crowds[key] += 1
            if self._crowds[key] > MOST_WAITING:
                raise RefusedError(f"{MOST_WAITING} jobs wait for {edge.name}: let this one wait for one of those")


def _unknown(edge: After) -> NoSuchJobError:
    if edge.kind == BATCH:
        return NoSuchJobError(f"no such batch: {edge.name} (`{command_line('batches')}` lists the batches)")
    return NoSuchJobError.of(edge.name)
