"""Refuses dependencies by which a job would wait for itself, through other jobs and batches.

A new job can only wait for older ones, so only a change of dependencies can make a cycle.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

from queuectl.domain.dependencies import BATCH, JOB
from queuectl.domain.events import After
from queuectl.domain.job import Job
from queuectl.errors import UsageError
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter

__all__ = ["refuse_cycle"]

LOADED = 500
"""Jobs that are loaded with one question."""
SHOWN = 6
"""The most jobs of a chain that a message names."""

Node = tuple[str, str]
"""The kind and the name of what a job waits for."""


def refuse_cycle(store: Store, jobs: Collection[Job], after: Iterable[After]) -> None:
    """Raises UsageError when one of these jobs would wait for itself if all of them waited for `after`."""
    search = _Search(store, jobs)
    came_from: dict[Node, Node | None] = dict.fromkeys((edge.kind, edge.name) for edge in after)
    layer = [*came_from]
    while layer:
        for node in layer:
            if node in search.wanted:
                raise UsageError(_sentence(_chain(came_from, node)))
        found = [(end, node) for node, end in search.following(layer) if end not in came_from]
        came_from |= dict(reversed(found))
        layer = [*dict(found)]


class _Search:
    """Follows dependencies. `wanted` are the jobs that must not be found."""

    def __init__(self, store: Store, jobs: Collection[Job]) -> None:
        self._store, self._jobs = store, jobs
        self.wanted = {(JOB, job.id) for job in jobs}
        self._waiting: dict[str, list[Node]] = defaultdict(list)
        for row in store.waits.dependencies():
            self._waiting[row.id].append((row.kind, row.name))

    def following(self, layer: Iterable[Node]) -> Iterator[tuple[Node, Node]]:
        """Each of these with what it waits for, or would wait for if it were retried; a batch with its jobs."""
        others = []
        for node in layer:
            kind, name = node
            if kind == BATCH:
                yield from ((node, (JOB, job_id)) for job_id in self._members(name))
            elif name in self._waiting:
                yield from ((node, end) for end in self._waiting[name])
            else:
                others.append(name)
        for start in range(0, len(others), LOADED):
            for name, job in self._store.log.load_all(others[start : start + LOADED]).items():
                if isinstance(job, Job) and not job.freed:
                    yield from (((JOB, name), (edge.kind, edge.name)) for edge in job.spec.after)

    def _members(self, batch: str) -> list[str]:
        """The jobs of a batch that may wait for others, and those that are to wait."""
        waiting = self._store.tables.ids(JobFilter(batch=batch, dependent=True, limit=0))
        return [*waiting, *(job.id for job in self._jobs if job.spec.batch == batch)]


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
    names = [f"batch {name}" if kind == BATCH else name for kind, name in chain]
    if len(names) > SHOWN:
        names[SHOWN // 2 : -(SHOWN // 2)] = [f"({len(names) - SHOWN:,} more)"]
    return f"job {job} would wait for itself: {' → '.join(names)}"
