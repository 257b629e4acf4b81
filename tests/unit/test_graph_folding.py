"""Folded graphs: which jobs of a batch share a node, and that nothing else does."""

from queuectl.application.graph_folding import MOST_UNFOLDED, folded
from queuectl.render.graph_text import IN, Edge, Graph, Node, as_tree

MANY = range(1, MOST_UNFOLDED + 2)


def jobs(*names, state="pending", held=False):
    return [Node(name, "job", state, held) for name in names]


def members(batch, numbers=MANY):
    return {f"{batch}.{number}": batch for number in numbers}


def drawn(nodes, edges, batches, single=()):
    sizes = {f"batch:{batch}": [*batches.values()].count(batch) for batch in batches.values()}
    return folded(Graph(nodes, [Edge(*edge) for edge in edges]), batches, sizes, single)


def test_a_batch_that_waits_for_one_job_is_one_node():
    batch = members("sweep")
    nodes = [*jobs("prep"), *jobs(*batch), Node("batch:sweep", "batch", ""), *jobs("report")]
    edges = [("prep", name, "ok") for name in batch] + [(name, "batch:sweep", IN) for name in batch]
    found = drawn(nodes, [*edges, ("batch:sweep", "report", "ok")], batch)
    assert as_tree(found, False).splitlines() == [
        "prep pending",
        f"└─ batch:sweep {len(batch)} pending",
        "   └─ report pending",
    ]
    assert found.joined == len(batch)


def test_few_jobs_and_named_ones_have_their_own_nodes():
    few = members("few", range(MOST_UNFOLDED))
    nodes, edges = [*jobs("prep"), *jobs(*few)], [("prep", name, "ok") for name in few]
    assert drawn(nodes, edges, few) == Graph(nodes, [Edge(*edge) for edge in edges])
    many = members("many", range(MOST_UNFOLDED + 2))
    nodes, edges = [*jobs("prep"), *jobs(*many)], [("prep", name, "ok") for name in many]
    assert [node.id for node in drawn(nodes, edges, many, {"many.0"}).nodes] == ["prep", "many.0", "many.1..many.9"]


def test_two_sweeps_job_by_job_are_two_nodes():
    batches = members("train") | members("eval")
    edges = [(f"train.{number}", f"eval.{number}", "ok") for number in MANY]
    found = drawn(jobs(*batches), edges, batches)
    assert found.edges == [Edge("batch:train", "batch:eval", "ok")]


def test_a_chain_within_a_batch_stays_a_chain():
    batch = members("step")
    edges = [(f"step.{number}", f"step.{number + 1}", "ok") for number in MANY[:-1]]
    assert len(drawn(jobs(*batch), edges, batch).nodes) == len(batch)


def test_states_are_counted_and_held_jobs_apart():
    done, held = members("a", range(6)), members("a", range(6, 10))
    nodes = [*jobs("prep"), *jobs(*done, state="done"), *jobs(*held, held=True)]
    batch = done | held
    found = drawn(nodes, [("prep", name, "ok") for name in batch], batch)
    assert as_tree(found, False).splitlines()[1] == "└─ batch:a 10 jobs: 6 done, 4 held"


def test_a_cycle_of_a_damaged_log_is_left_as_it_is():
    batch = members("a")
    nodes, edges = jobs(*batch, "x"), [("a.1", "x", "ok"), ("x", "a.1", "ok")]
    assert drawn(nodes, edges, batch).nodes == nodes
