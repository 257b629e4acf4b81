"""Whole lives of a queue in virtual time, each from one seed, each twice: the oracle is silent, the logs are equal."""

import pytest

from queuectl.domain.events import RecordedEvent
from tests.simulation.simulation import Simulation

SEEDS = 100


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_seed(seed: int) -> None:
    first, second = log_of(seed), log_of(seed)
    assert next((pair for pair in zip(first, second, strict=False) if pair[0] != pair[1]), None) is None
    assert len(first) == len(second)


def log_of(seed: int) -> list[RecordedEvent]:
    """The seed's log without its digests, which hang on random salts."""
    try:
        return [record.at(digest=b"") for record in Simulation(seed).run_all()]
    except Exception as error:
        error.add_note(f"To repeat it: pytest 'tests/simulation/test_seeds.py::test_a_seed[{seed}]'")
        raise


def test_the_seeds_meet_everything_there_is() -> None:
    """A campaign in which something never happens proves nothing about it."""
    met = {record.type for seed in range(15) for record in Simulation(seed).run_all()}
    assert met >= {
        *("enqueued", "claimed", "completed", "retry_scheduled", "dead_lettered", "released", "cancelled", "requeued"),
        *("purged", "cancel_requested", "result_rejected", "queue_paused", "queue_resumed"),
        *("worker_started", "worker_stopped", "worker_lost"),
    }
