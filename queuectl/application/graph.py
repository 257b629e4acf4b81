"""The graph of dependencies, present and past: the nodes and edges that `graph` draws."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from queuectl.application.graph_folding import folded
from queuectl.domain.dependencies import BATCH, JOB
from queuectl.domain.events import After
from queuectl.domain.machine import State
from queuectl.render.graph_text import IN, Edge, Graph, Node
from queuectl.render.job_cells import dependencies_in
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter

__all__ = ["graph"]

_BATCH = f"{BATCH}:"


def graph(store: Store, job_id: str | None = None, wanted: JobFilter | None = None, *, unfolded: bool = False) -> Graph:
    """The graph of all dependencies, or of those around one job, or around the jobs of a filter and its batch.

    Many jobs of a batch that are alike are one node, unless it is `unfolded`; that one job has its own.
    """
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
    batches = {row["id"]: row["batch"] for name in names if (row := _row(store, rows, name)) and row["batch"]}
    counts = _counts(store) if batches or any(name.startswith(_BATCH) for name in names) else {}
    found = [_node(store, rows, counts, name) for name in names]
    order = {name: row["position"] for name, row in rows.items()}
    whole = Graph(sorted(found, key=lambda node: (node.kind != JOB, order.get(node.id, 0), node.id)), edges)
    sizes = {name: sum(states.values()) for name, states in counts.items()}
    return whole if unfolded else folded(whole, batches, sizes, {job_id or ""})


def _counts(store: Store) -> dict[str, dict[str, int]]:
    """The number of the jobs of each batch in each state."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for count in store.batches.all():
        found[_batch_name(count.batch)][count.state.value] = count.jobs
    return found


def _row(store: Store, rows: dict[str, dict[str, Any]], name: str) -> dict[str, Any] | None:
    """The row of a job; one that waits for nothing is looked up once."""
    if name not in rows and not name.startswith(_BATCH) and (row := store.tables.job(name)) is not None:
        rows[name] = row
    return rows.get(name)


def _batch_name(name: str) -> str:
    """A batch's id among the nodes: no job can have it."""
    return f"{_BATCH}{name}"


def _members(rows: Iterable[dict[str, Any]], awaited: Collection[str]) -> list[Edge]:
    """Edges from jobs that wait themselves to their batch, if someone waits for that."""
    found = ((row["id"], _batch_name(row["batch"])) for row in rows if row["batch"] is not None)
    return [Edge(job_id, batch, IN) for job_id, batch in found if batch in awaited]


def _edge(job_id: str, after: After) -> Edge:
    return Edge(after.name if after.kind == JOB else _batch_name(after.name), job_id, after.on)


def _node(store: Store, rows: dict[str, dict[str, Any]], counts: Mapping[str, Mapping[str, int]], name: str) -> Node:
    if name.startswith(_BATCH):
        return Node(name, BATCH, "", counts=counts.get(name, {}))
    row = _row(store, rows, name)
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
