"""Folds a graph: the jobs of a batch that wait alike, and are awaited alike, become one node with counts by state."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from queuectl.domain.dependencies import BATCH
from queuectl.render.graph_text import Edge, Graph, Node

__all__ = ["MOST_UNFOLDED", "folded"]

MOST_UNFOLDED = 8
"""So many jobs of a batch that are alike are still drawn one by one."""

Kind = int
"""Nodes of one kind are of one batch, and wait for nodes of the same kinds."""


def folded(whole: Graph, batches: Mapping[str, str], sizes: Mapping[str, int], single: Collection[str] = ()) -> Graph:
    """The graph with one node for many jobs that are alike.

    `batches`: by job; `sizes`: of the batches, by the ids of their nodes; `single`: jobs that stay as they are.
    Jobs that are alike stand equally far from the beginning, so no cycle results.
    """
    own = {node.id: node.id for node in whole.nodes}
    own |= {name: f"batch:{batch}" for name, batch in batches.items() if name in own and name not in single}
    try:
        into, out = _kinds(whole, own, backwards=False), _kinds(whole, own, backwards=True)
    except CycleError:  # only a damaged log has one
        return whole
    alike: dict[tuple[str, Kind, Kind], list[Node]] = defaultdict(list)
    for node in whole.nodes:
        if own[node.id] != node.id:
            alike[own[node.id], into[node.id], out[node.id]].append(node)
    return _joined(whole, [nodes for nodes in alike.values() if len(nodes) > MOST_UNFOLDED], own, sizes)


def _kinds(whole: Graph, own: Mapping[str, str], *, backwards: bool) -> dict[str, Kind]:
    """The kind of each node by the kinds of those before it, or `backwards` of those after it."""
    before: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for edge in whole.edges:
        start, end = (edge.after, edge.before) if backwards else (edge.before, edge.after)
        before[end].append((start, edge.on))
    known: dict[object, Kind] = {}
    found: dict[str, Kind] = {}
    for name in _in_order(own, before):
        key = own[name], frozenset((found[start], on) for start, on in before[name])
        found[name] = known.setdefault(key, len(known))
    return found


def _in_order(names: Iterable[str], before: Mapping[str, Sequence[tuple[str, str]]]) -> list[str]:
    """The nodes, each after those before it."""
    sorter = TopologicalSorter({name: [start for start, _ in before.get(name, ())] for name in names})
    return [*sorter.static_order()]


def _joined(whole: Graph, groups: Sequence[Sequence[Node]], own: Mapping[str, str], sizes: Mapping[str, int]) -> Graph:
    """The graph in which each group is one node: that of its batch, when the batch has no other jobs."""
    nodes = {node.id: node for node in whole.nodes}
    names = {name: name for name in nodes}
    for group in groups:
        batch = own[group[0].id]
        name = batch if sizes.get(batch) == len(group) else f"{group[0].id}..{group[-1].id}"
        names |= {node.id: name for node in group}
        nodes[name] = Node(name, BATCH, "", counts=Counter("held" if node.held else node.state for node in group))
    kept = dict.fromkeys(names[node.id] for node in whole.nodes)
    edges = dict.fromkeys(Edge(names[edge.before], names[edge.after], edge.on) for edge in whole.edges)
    between = [edge for edge in edges if edge.before != edge.after]
    return Graph([nodes[name] for name in kept], between, sum(map(len, groups)))
