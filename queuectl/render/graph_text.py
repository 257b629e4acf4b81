"""A graph of dependencies or origins as a tree for a terminal, or in the languages of programs that draw graphs."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from queuectl.render.terminal import STATE_COLORS, colored
from queuectl.units import counted

__all__ = ["COPY", "IN", "Edge", "Graph", "Node", "as_dot", "as_mermaid", "as_tree"]

IN = "in"
"""The word of an edge from a job to its batch."""
COPY = "copy"
"""The word of an edge from a job to its copy."""
DEEPEST = 25
"""The number of indented levels. Deeper levels start at the left again."""


class Node(Struct, frozen=True):
    """A job, a batch, or jobs of a batch that are alike. A job that was purged is `purged`; others have no state.

    `counts`: the number of the batch's jobs in each state, or of the jobs that share this node; then held ones apart.
    """

    id: str
    kind: str
    state: str
    held: bool = False
    counts: Mapping[str, int] = {}


class Edge(Struct, frozen=True):
    """`after` waits, or waited, for `before` to end as `on` says; `in`: `before` is a job of the batch `after`.

    `copy`: `after` is a copy of the job `before`.
    """

    before: str
    after: str
    on: str


class Graph(Struct, frozen=True):
    """Nodes in the order of their numbers, batches last, and edges. `joined`: how many jobs share nodes."""

    nodes: list[Node]
    edges: list[Edge]
    joined: int = 0


def as_dot(found: Graph) -> str:
    """The graph in the language of Graphviz."""
    lines = [f'  "{node.id}" [label="{node.id}\\n{_state(node)}"];' for node in found.nodes]
    lines += [f'  "{edge.before}" -> "{edge.after}"{_dot_label(edge)};' for edge in found.edges]
    return "\n".join(["digraph {", "  rankdir=LR;", *lines, "}"])


def _dot_label(edge: Edge) -> str:
    return "" if edge.on in ("ok", IN) else f' [label="{edge.on}"]'


def as_mermaid(found: Graph) -> str:
    """The graph as a mermaid flowchart."""
    numbers = {node.id: f"n{number}" for number, node in enumerate(found.nodes, 1)}
    lines = [f'    {numbers[node.id]}["{node.id}<br/>{_state(node)}"]' for node in found.nodes]
    for edge in found.edges:
        label = "" if edge.on in ("ok", IN) else f"|{edge.on}|"
        lines.append(f"    {numbers[edge.before]} -->{label} {numbers[edge.after]}")
    return "\n".join(["flowchart LR", *lines])


def _state(node: Node) -> str:
    """The state as it is shown; the counts of jobs that are shown together."""
    if node.counts:
        states = ", ".join(f"{number:,} {state}" for state, number in node.counts.items())
        jobs = counted(sum(node.counts.values()), "job")
        return f"{jobs}: {states}" if len(node.counts) > 1 else states
    return node.kind if node.kind != "job" else f"{node.state}, held" if node.held else node.state


def as_tree(found: Graph, color: bool) -> str:
    """The graph as trees: below each job those that wait for it. A job that waits for several is drawn once in full."""
    return "\n".join(_Trees(found, color).lines())


class _Trees:
    """Draws trees without recursion, because chains may be long."""

    def __init__(self, found: Graph, color: bool) -> None:
        self._nodes: Mapping[str, Node] = {node.id: node for node in found.nodes}
        self._color = color
        self._below: dict[str, list[Edge]] = defaultdict(list)
        order = {node.id: number for number, node in enumerate(found.nodes)}
        for edge in sorted(found.edges, key=lambda edge: order[edge.after]):
            self._below[edge.before].append(edge)
        waiting = {edge.after for edge in found.edges}
        self._roots = [node.id for node in found.nodes if node.id not in waiting]
        self._drawn: set[str] = set()

    def lines(self) -> Iterator[str]:
        later = self._roots
        while later:
            roots, later = later, []
            for root in roots:
                yield from self._tree(root, later.append)

    def _tree(self, root: str, later: Callable[[str], None]) -> Iterator[str]:
        rest = [(root, "", "", "")]
        while rest:
            name, on, before, below = rest.pop()
            edges = self._below[name]
            again, deep = name in self._drawn and bool(edges), len(below) >= 3 * DEEPEST and bool(edges)
            yield f"{before}{self._label(name, on)}{' (see above)' if again else ' (continued below)' if deep else ''}"
            if deep and not again:
                later(name)
            if again or deep:
                continue
            self._drawn.add(name)
            rest += reversed([*_indented(edges, below)])

    def _label(self, name: str, on: str) -> str:
        node = self._nodes[name]
        state = _state(node) if node.kind == "job" or node.counts else ""
        return f"{name}{' ' if state else ''}{colored(state, STATE_COLORS.get(node.state), self._color)}{_how(on)}"


def _how(on: str) -> str:
    """How a job hangs together with the one above it, unless it is as usual."""
    return "" if on in ("", "ok", IN) else " (copy)" if on == COPY else f" (after {on})"


def _indented(edges: list[Edge], below: str) -> Iterator[tuple[str, str, str, str]]:
    for number, edge in enumerate(edges, 1):
        is_last = number == len(edges)
        yield edge.after, edge.on, f"{below}{'└─ ' if is_last else '├─ '}", f"{below}{'   ' if is_last else '│  '}"
