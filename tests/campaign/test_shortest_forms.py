"""One seed of every campaign, a small one where that is enough, and the first of its controls."""

import pytest

from tests.campaign.plan import NAMES, campaign
from tests.campaign.running import noticed


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_has_no_fault(name: str) -> None:
    chosen = campaign(name)
    done = (chosen.brief or chosen.attempt)(0)
    assert done.tries
    assert not done.faults, f"python -m tests.campaign {name} --seeds 1"


@pytest.mark.parametrize("name", NAMES)
def test_the_first_control_is_noticed(name: str) -> None:
    assert noticed(campaign(name).controls[0]), "the campaign does not see this defect"
