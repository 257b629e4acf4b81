"""Random graphs of jobs that wait for jobs, in virtual time: none starts early, and none waits without a reason."""

import pytest

from tests.simulation.dependencies import SimulatedGraph
from tests.simulation.dependency_mutants import MUTANTS


@pytest.mark.parametrize("seed", range(4))
def test_an_oracle_agrees_about_every_start(seed):
    graph = SimulatedGraph(seed)
    judged = graph.run(150)
    assert graph.oracle.faults == []
    assert judged.findings == []
    assert judged.checked["after"] > 10
    graph.close()


def test_the_graphs_meet_releases_holds_and_kills():
    freed = held = died = edits = other_ends = 0
    for seed in range(4, 9):
        graph = SimulatedGraph(seed)
        graph.run(100)
        assert graph.oracle.faults == []
        freed += sum(record.type == "dependencies_met" for record in graph.store.log.records())
        held, died = held + len(graph.oracle.held()), died + graph.died
        edits += graph.oracle.edits
        other_ends += graph.oracle.edits_of_if_unmet
        graph.close()
    assert freed > 20
    assert held > 5
    assert died > 5
    assert edits > 10
    assert other_ends > 5


@pytest.mark.parametrize("put_in", MUTANTS)
def test_a_wrong_release_is_found(put_in, monkeypatch):
    put_in(monkeypatch)
    found = set()
    for seed in range(3):
        graph = SimulatedGraph(seed)
        graph.run(120)
        found |= set(graph.oracle.faults)
        graph.close()
    assert found
