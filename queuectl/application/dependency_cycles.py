"""Refuses dependencies by which a job would wait for itself, through other jobs and batches.

A new job can only wait for older ones. So only three things can make a cycle: a change of dependencies, a new job in a
batch for which others wait already, and the retry of a job that begins to wait again.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from queuectl.application.queue import NewJob
from queuectl.domain.dependencies import BATCH, JOB
from queuectl.domain.events import After
from queuectl.domain.job import Job
from queuectl.errors import RefusedError, UsageError, command_line
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter

__all__ = ["refuse_cycle", "refuse_cycles_through_batches", "refuse_retry"]

LOADED = 500
"""Jobs that are loaded with one question."""
SHOWN = 6
"""The most jobs of a chain that a message names."""

Node = tuple[str, str]
"""The kind and the name of what a job waits for."""


def refuse_cycle(store: Store, jobs: Collection[Job], after: Iterable[After]) -> None:
    """Raises UsageError when one of these jobs would wait for itself if all of them waited for `after`."""
    search = _Search(store)
    for job in jobs:
        if job.spec.batch is not None:
            search.members[job.spec.batch].append(job.id)
    if chain := search.chain(after, {(JOB, job.id) for job in jobs}):
        raise UsageError(_sentence(chain))


def refuse_cycles_through_batches(store: Store | None, jobs: Sequence[NewJob]) -> None:
    """Raises UsageError when one of these new jobs would wait for the batch that it belongs to.

    Their dependencies have to be resolved.
    """
    named = {edge.name for job in jobs for edge in job.spec.after if edge.kind == BATCH}
    suspects = defaultdict[str, list[NewJob]](list)
    for job in jobs:
        batch = job.spec.batch
        if batch and job.spec.after and (batch in named or (store is not None and store.waits.crowd(BATCH, batch))):
            suspects[batch].append(job)
    if not suspects:
        return
    search = _Search(store)
    for number, job in enumerate(jobs):
        search.add(job.id or f"job {number + 1}", job)
    for batch, members in suspects.items():
        if chain := search.chain((edge for job in members for edge in job.spec.after), {(BATCH, batch)}):
            raise UsageError(_at_line(members, chain) + _sentence_of_batch(chain))


def refuse_retry(store: Store, job: Job) -> None:
    """Raises RefusedError when an ended job that was never freed would wait for itself if it were retried."""
    batch = job.spec.batch
    if not store.waits.crowd(JOB, job.id) and (batch is None or not store.waits.crowd(BATCH, batch)):
        return
    search = _Search(store, ended=False)
    if batch is not None:
        search.members[batch].append(job.id)
    if chain := search.chain(job.spec.after, {(JOB, job.id)}):
        raise RefusedError(f"{_sentence(chain)} (`{command_line('edit', chain[-1][1])} --after …` changes that)")


class _Search:
    """Follows dependencies: those in the store, and those of jobs that are to be added.

    `ended`: also those of jobs that have ended and would wait if they were retried. Otherwise the search is expected to
    be short, and reads what it meets.
    """

    def __init__(self, store: Store | None, *, ended: bool = True) -> None:
        self._store, self._ended = store, ended
        self.members: dict[str, list[str]] = defaultdict(list)
        self._waiting: dict[str, list[Node]] = defaultdict(list)
        self._new: set[str] = set()
        if store is not None and ended:
            for row in store.waits.dependencies():
                self._waiting[row.id].append((row.kind, row.name))

    def add(self, name: str, job: NewJob) -> None:
        """Follow this new job too."""
        self._new.add(name)
        if job.spec.after:
            self._waiting[name] = [(edge.kind, edge.name) for edge in job.spec.after]
            if job.spec.batch is not None:
                self.members[job.spec.batch].append(name)

    def chain(self, after: Iterable[After], wanted: Collection[Node]) -> list[Node]:
        """A wanted node, then each thing on the way to it from `after`; empty when none is reached."""
        came_from: dict[Node, Node | None] = dict.fromkeys((edge.kind, edge.name) for edge in after)
        layer = [*came_from]
        while layer:
            for node in layer:
                if node in wanted:
                    return _chain(came_from, node)
            found = [(end, node) for node, end in self.following(layer) if end not in came_from]
            came_from |= dict(reversed(found))
            layer = [*dict(found)]
        return []

    def following(self, layer: Iterable[Node]) -> Iterator[tuple[Node, Node]]:
        """Each of these with what it waits for, or would wait for if it were retried; a batch with its jobs."""
        others = []
        for node in layer:
            kind, name = node
            if kind == BATCH:
                yield from ((node, (JOB, job_id)) for job_id in self._members(name))
            elif ends := self._ends(name):
                yield from ((node, end) for end in ends)
            elif name not in self._new:
                others.append(name)
        if self._store is not None and self._ended:
            yield from self._of_ended(self._store, others)

    def _ends(self, name: str) -> list[Node]:
        """The dependencies of a job."""
        if self._store is not None and not self._ended and name not in self._waiting:
            self._waiting[name] = [(row.kind, row.name) for row in self._store.waits.dependencies(name)]
        return self._waiting.get(name, [])

    def _of_ended(self, store: Store, names: list[str]) -> Iterator[tuple[Node, Node]]:
        """The dependencies that ended jobs would have if they were run again, of those that were never freed."""
        for start in range(0, len(names), LOADED):
            for name, job in store.log.load_all(names[start : start + LOADED]).items():
                if isinstance(job, Job) and not job.freed:
                    yield from (((JOB, name), (edge.kind, edge.name)) for edge in job.spec.after)

    def _members(self, batch: str) -> list[str]:
        """The jobs of a batch that may wait for others, and those that are to wait."""
        wanted = JobFilter(batch=batch, dependent=True, limit=0)
        return [*(self._store.tables.ids(wanted) if self._store else ()), *self.members[batch]]


def _chain(came_from: Mapping[Node, Node | None], last: Node) -> list[Node]:
    """The job that would wait for itself, then each thing that it would wait for through the one before."""
    chain, node = [last], came_from[last]
    while node is not None:
        chain.append(node)
        node = came_from[node]
    return [last, *reversed(chain)]


def _sentence(chain: list[Node]) -> str:
    job = chain[0][1]
    if len(chain) == 2:
        return f"job {job} cannot wait for itself"
    return f"job {job} would wait for itself: {_shown(chain)}"


def _at_line(jobs: Iterable[NewJob], chain: list[Node]) -> str:
    """`line 7: `, where the file has the job that begins the chain."""
    begins = (job.line for job in jobs if chain[1] in {(edge.kind, edge.name) for edge in job.spec.after})
    line = next(begins, None)
    return "" if line is None else f"line {line}: "


def _sentence_of_batch(chain: list[Node]) -> str:
    batch = chain[0][1]
    if len(chain) == 2:
        return f"a job of batch {batch} cannot wait for that batch"
    return f"a job of batch {batch} would wait for that batch: {_shown(chain)}"


def _shown(chain: list[Node]) -> str:
    """`batch grid → report → batch grid`, with the middle of a long chain left out."""
    names = [f"batch {name}" if kind == BATCH else name for kind, name in chain]
    if len(names) > SHOWN:
        names[SHOWN // 2 : -(SHOWN // 2)] = [f"({len(names) - SHOWN:,} more)"]
    return " → ".join(names)
