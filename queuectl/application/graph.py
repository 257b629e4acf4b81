"""The graph of dependencies, present and past: the nodes and edges that `graph` draws."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any

from msgspec.structs import replace

from queuectl.domain.dependencies import JOB
from queuectl.domain.events import After
from queuectl.domain.machine import State
from queuectl.render.graph_text import IN, Edge, Graph, Node
from queuectl.render.job_cells import dependencies_in
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter

__all__ = ["graph"]


def graph(store: Store, job_id: str | None = None, wanted: JobFilter | None = None) -> Graph:
    """The graph of all dependencies, or of those around one job, or around the jobs of a filter and its batch."""
    rows = {row["id"]: row for row in store.tables.jobs(JobFilter(dependent=True, descending=False, limit=0))}
    edges = [_edge(row["id"], after) for row in rows.values() for after in dependencies_in(row["after"])]
    edges += _members(rows.values(), {edge.before for edge in edges})
    if job_id is not None:
        edges = _around(edges, {job_id})
    elif wanted is not None:
        members = store.tables.ids(replace(wanted, limit=0))
        edges = _around(edges, {*members, *([] if wanted.batch is None else [_batch_name(wanted.batch)])})
    names = dict.fromkeys(name for edge in edges for name in (edge.before, edge.after))
    names |= {} if job_id is None else {job_id: None}
    found = [_node(store, rows, name) for name in names]
    order = {name: row["position"] for name, row in rows.items()}
    return Graph(sorted(found, key=lambda node: (node.kind != JOB, order.get(node.id, 0), node.id)), edges)


def _batch_name(name: str) -> str:
    """A batch's id among the nodes: no job can have it."""
    return f"batch:{name}"


def _members(rows: Iterable[dict[str, Any]], awaited: Collection[str]) -> list[Edge]:
    """Edges from jobs that wait themselves to their batch, if someone waits for that."""
    found = ((row["id"], _batch_name(row["batch"])) for row in rows if row["batch"] is not None)
    return [Edge(job_id, batch, IN) for job_id, batch in found if batch in awaited]


def _edge(job_id: str, after: After) -> Edge:
    return Edge(after.name if after.kind == JOB else _batch_name(after.name), job_id, after.on)


def _node(store: Store, rows: dict[str, dict[str, Any]], name: str) -> Node:
    if name.startswith("batch:"):
        return Node(name, "batch", "")
    row = rows.get(name) or store.tables.job(name)
    return Node(name, JOB, State.PURGED) if row is None else Node(name, JOB, row["state"], bool(row["held"]))


def _around(edges: list[Edge], ids: set[str]) -> list[Edge]:
    """The edges that lead to these jobs, and those that lead away from them."""
    into, out = defaultdict(list), defaultdict(list)
    for edge in edges:
        into[edge.after].append(edge)
        out[edge.before].append(edge)
    found = dict.fromkeys(_walk(ids, lambda name: into[name], lambda edge: edge.before))
    return [*(found | dict.fromkeys(_walk(ids, lambda name: out[name], lambda edge: edge.after)))]


def _walk(ids: Iterable[str], following: Callable[[str], list[Edge]], end: Callable[[Edge], str]) -> Iterable[Edge]:
    seen, rest = set[str](), [*ids]
    while rest:
        name = rest.pop()
        if name not in seen:
            seen.add(name)
            yield from following(name)
            rest += map(end, following(name))
