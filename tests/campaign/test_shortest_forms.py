"""One seed of every campaign, and the first of its controls: what the default tier has of them."""

import pytest

from tests.campaign.plan import NAMES, campaign
from tests.campaign.running import Limit, noticed, run


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_has_no_fault(name: str) -> None:
    figures = run(campaign(name), Limit(seeds=1))
    assert figures.tries
    assert not figures.faults, f"python -m tests.campaign {name} --seeds 1"


@pytest.mark.parametrize("name", NAMES)
def test_the_first_control_is_noticed(name: str) -> None:
    assert noticed(campaign(name).controls[0]), "the campaign does not see this defect"
