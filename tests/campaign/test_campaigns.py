"""The short form of every campaign, all but the first of its controls, and each seed that ever failed."""

import pytest

from tests.campaign.plan import NAMES, Control, campaign
from tests.campaign.reporting import failed_seeds
from tests.campaign.running import Limit, noticed, run

CONTROLS = [pytest.param(each, id=f"{name}: {each.what}") for name in NAMES for each in campaign(name).controls[1:]]
FAILED = [(name, int(seed)) for name, seeds in failed_seeds().items() for seed in seeds]


@pytest.mark.parametrize("name", NAMES)
def test_the_short_form_has_no_fault(name: str) -> None:
    chosen = campaign(name)
    figures = run(chosen, Limit(tries=chosen.short))
    assert figures.tries
    assert not figures.faults, f"python -m tests.campaign {name} --seeds 1 --seed {min(figures.first.values())}"


@pytest.mark.parametrize("control", CONTROLS)
def test_the_control_is_noticed(control: Control) -> None:
    assert noticed(control), "the campaign does not see this defect"


@pytest.mark.parametrize(("name", "seed"), FAILED)
def test_a_seed_that_failed_once_has_no_fault(name: str, seed: int) -> None:
    assert not campaign(name).attempt(seed).faults
