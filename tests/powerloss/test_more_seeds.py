"""Power cuts at more seeds than the default tier has."""

import pytest

from tests.powerloss.campaign import run
from tests.powerloss.test_power_loss import STATES_OF_A_SEED


@pytest.mark.parametrize("seed", range(2, 6))
def test_power_cuts_lose_no_acknowledged_event(seed: int) -> None:
    figures = run(STATES_OF_A_SEED, seed)
    assert figures.states >= STATES_OF_A_SEED
    assert figures.acknowledged > figures.states
    assert not figures.faults, f"\n{figures}"
