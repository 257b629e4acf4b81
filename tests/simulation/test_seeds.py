"""Whole lives of a queue in virtual time, each from one seed, each twice: the oracle is silent, the logs are equal."""

import pytest

from queuectl.domain.events import RecordedEvent
from tests.simulation.simulation import Simulation

SEEDS = 200


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_seed(seed: int) -> None:
    """To repeat one: `pytest "tests/simulation/test_seeds.py::test_a_seed[SEED]"`."""
    first, second = log_of(seed), log_of(seed)
    differing = [pair for pair in zip(first, second, strict=False) if pair[0] != pair[1]]
    assert not differing[:1]
    assert len(first) == len(second)


def log_of(seed: int) -> list[RecordedEvent]:
    """The seed's log without its digests, which hang on random salts."""
    return [record.at(digest=b"") for record in Simulation(seed).run_all()]
