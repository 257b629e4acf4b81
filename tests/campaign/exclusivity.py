"""A job never runs twice at once: eight workers are suspended past their leases, killed and given a wrong clock; the
jobs check that they run alone.
"""

from functools import partial
from pathlib import Path
from random import Random

from tests.campaign.plan import Attempt, Campaign, Control
from tests.kill.builds import without_locks
from tests.kill.nemesis import JOBS, Arena
from tests.powerloss.campaign import scratch

__all__ = ["CAMPAIGN"]


def attempt(seed: int, jobs: int = JOBS) -> Attempt:
    """One round of jobs, done by workers that are suspended, killed, ended and given a wrong clock."""
    with scratch() as folder:
        return _fight(Arena(Path(folder), Random(seed)), jobs)


def _fight(arena: Arena, jobs: int) -> Attempt:
    try:
        arena.fight(jobs)
        arena.look(jobs)
    finally:
        arena.leave()
    counted = {
        "workers stopped": arena.stops,
        "workers killed": arena.kills,
        "workers asked to stop": arena.ends,
        "clock jumps": arena.jumps,
    }
    return Attempt(jobs, arena.faults, counted)


def blind(seed: int) -> Attempt:
    """A short round of long jobs on workers without locks."""
    with scratch() as folder:
        return _fight(Arena(Path(folder), Random(seed), without_locks, slow=0.5), 100)


CAMPAIGN = Campaign(
    name="exclusivity",
    unit="jobs",
    short=2_000,
    full=200_000,
    attempt=attempt,
    brief=partial(attempt, jobs=300),
    controls=(Control("no run lock and no search for a lost run's processes", blind),),
)
