"""SIGKILL: the real command line, workers and supervisors, killed at random times and at named points of the code."""

from functools import partial
from pathlib import Path
from random import Random

from tests.campaign.plan import Attempt, Campaign, Control
from tests.kill.builds import acknowledge_before_commit, without_locks
from tests.kill.life import KILLS, Life
from tests.kill.victims import POINTS, Build
from tests.powerloss.campaign import scratch

__all__ = ["CAMPAIGN"]


def attempt(seed: int, build: Build | None = None, kills: int = KILLS) -> Attempt:
    """One life of a queue, in which every process is killed."""
    with scratch() as folder:
        life = Life(Path(folder), Random(seed), build)
        try:
            life.live(kills)
            life.end()
        finally:
            life.leave()
    counted = {"of them at a named point": life.at_points.total(), "acknowledged jobs looked for": len(life.jobs)}
    return Attempt(life.kills, life.faults, counted, life.at_points)


def defective(seed: int, build: Build, kills: int = KILLS) -> Attempt:
    """One life with a build that must lose something. A build that does not even run proves nothing."""
    done = attempt(seed, build, kills)
    broken = [fault for fault in done.faults if fault.startswith(("exit:", "traceback:"))]
    assert not broken, f"the build does not run: {broken[0]}"
    return done


CAMPAIGN = Campaign(
    name="kill",
    unit="kills",
    short=300,
    full=20_000,
    attempt=attempt,
    to_meet=POINTS,
    met_within=5_000,
    brief=partial(attempt, kills=20),
    controls=(
        Control(
            "a build that acknowledges before it commits", partial(defective, build=acknowledge_before_commit, kills=30)
        ),
        Control("no run lock and no search for a lost run's processes", partial(defective, build=without_locks)),
    ),
)
