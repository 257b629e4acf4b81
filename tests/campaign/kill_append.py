"""SIGKILL in and around the append, on queues whose events have consequences: both are there, or neither."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tests.campaign.plan import Attempt, Campaign, Control
from tests.kill.builds import consequences_apart
from tests.kill.life import KILLS, Life
from tests.kill.victims import AROUND_THE_APPEND, Build
from tests.powerloss.campaign import scratch
from tests.support.oracle import rows

__all__ = ["CAMPAIGN"]


def attempt(
    seed: int,
    build: Build | None = None,
    kills: int = KILLS,
    points: Sequence[str] = AROUND_THE_APPEND,
    **others: Any,
) -> Attempt:
    """One life of a queue, in which the processes are killed at points of the append, or else at a random time.

    `others` are fields of `Life`.
    """
    with scratch() as folder:
        life = Life(Path(folder), Random(seed), build, points=points, **others)
        try:
            life.live(kills)
            life.end()
            freed = sum(row["type"] == "dependencies_met" for row in rows(life.db))
        finally:
            life.leave()
    counted = {"other kills": life.kills - life.at_points.total(), "jobs that were freed": freed}
    return Attempt(life.at_points.total(), life.faults, counted, life.at_points)


def half(seed: int) -> Attempt:
    """One life in which consequences follow in another transaction; only a cause without them counts as noticed.

    The jobs whose cause is lost wait without end, so the last worker is not waited for long.
    """
    done = attempt(seed, consequences_apart, points=("tests.kill.builds:follow_up",), calls=(1,), patience=5)
    return Attempt(done.tries, [fault for fault in done.faults if fault.startswith("half:")])


CAMPAIGN = Campaign(
    name="kill-append",
    unit="kills in and around the append",
    short=60,
    full=2_000,
    attempt=attempt,
    to_meet=AROUND_THE_APPEND,
    met_within=1_000,
    brief=partial(attempt, kills=20),
    controls=(Control("consequences in a transaction of their own are lost", half),),
)
