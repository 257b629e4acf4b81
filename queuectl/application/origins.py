"""The causes and effects of a job: the jobs that led to it, and those that it led to."""

from queuectl.domain.dependencies import JOB
from queuectl.domain.events import Origin
from queuectl.domain.machine import State
from queuectl.render.graph_text import COPY, Edge, Graph, Node
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter

__all__ = ["origin_tree"]

MOST = 1000
"""Jobs that are shown."""
WORDS = {JOB: "ok", COPY: COPY}
"""The kinds of origins that are jobs, and the word of the edge from such a job to the one that it led to."""


def origin_tree(store: Store, job_id: str) -> Graph:
    """The chain of origins above a job, and the jobs below it."""
    nodes = {job_id: _node(store, job_id)}
    edges: list[Edge] = []
    _add_above(store, job_id, nodes, edges)
    _add_below(store, job_id, nodes, edges)
    return Graph([*nodes.values()], edges)


def _add_above(store: Store, job_id: str, nodes: dict[str, Node], edges: list[Edge]) -> None:
    name = job_id
    while (origin := _origin(store, name)) is not None and len(nodes) < MOST:
        is_job = origin.kind in WORDS
        above = origin.name if is_job else origin.label
        edges.append(Edge(above, name, WORDS.get(origin.kind, "ok")))
        if above in nodes:
            return
        nodes[above] = _node(store, above) if is_job else Node(above, origin.kind, "")
        if not is_job:
            return
        name = above


def _add_below(store: Store, job_id: str, nodes: dict[str, Node], edges: list[Edge]) -> None:
    rest = [job_id]
    while rest and len(nodes) < MOST:
        name = rest.pop(0)
        for kind, word in WORDS.items():
            for row in store.tables.jobs(JobFilter(origin=f"{kind}:{name}", descending=False, limit=MOST)):
                if row["id"] not in nodes:
                    nodes[row["id"]] = Node(row["id"], JOB, row["state"])
                    edges.append(Edge(name, row["id"], word))
                    rest.append(row["id"])


def _node(store: Store, job_id: str) -> Node:
    row = store.tables.job(job_id)
    return Node(job_id, JOB, State.PURGED if row is None else row["state"])


def _origin(store: Store, job_id: str) -> Origin | None:
    job = store.log.load(job_id)
    return None if job is None else job.promised.origin
