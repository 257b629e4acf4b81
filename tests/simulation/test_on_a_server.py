"""Some seeds on PostgreSQL, where workers of other hosts cannot be seen and each worker obeys its own lease."""

from contextlib import closing

import pytest

from queuectl.runtime import Reach
from tests.campaign.simulation import raw_fault_of
from tests.simulation.simulation import Simulation
from tests.support.postgres import server


@pytest.mark.parametrize("seed", range(10))
def test_all_invariants_hold_after_every_step(seed: int) -> None:
    life = Simulation(seed, url=server().new_url())
    with closing(life.store):
        assert raw_fault_of(life) == ""
        assert life.store.location.reach is Reach.SEVERAL_HOSTS
        assert life.oracle.position > 100
