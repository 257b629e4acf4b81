"""Power loss: the real store on a disk that loses, tears and reorders what was not synced."""

from functools import partial

from tests.campaign.plan import Attempt, Campaign, Control
from tests.powerloss.campaign import STATES_OF_A_RECORDING, run
from tests.powerloss.workload import record

__all__ = ["CAMPAIGN"]


def attempt(seed: int, durability: str = "safe", states: int = STATES_OF_A_RECORDING) -> Attempt:
    """One life of a queue, and 250 disks that a power cut may have left of it."""
    figures = run(states, seed, partial(record, durability=durability))
    faults = [fault for fault, number in figures.faults.items() for _ in range(number)]
    return Attempt(figures.states, faults, {"acknowledged events looked for": figures.told})


CAMPAIGN = Campaign(
    name="power-loss",
    unit="crash states",
    short=1_500,
    full=1_000_000,
    attempt=attempt,
    controls=(Control("durability `fast` loses acknowledged events", partial(attempt, durability="fast"), 4),),
)
