"""The faults of a seed: which kinds are injected in this run, and how likely each is."""

from random import Random

from msgspec import Struct

from tests.simulation.world import SECOND

__all__ = ["Fate", "drawn"]

HOUR = 3600 * SECOND
YEAR = 365 * 24 * HOUR

BLOWS = {
    "crash_worker": 0.8,
    "pause_worker": 4,
    "stop_worker": 0.7,
    "reboot": 0.4,
    "jump": 0.8,
    "fill_disk": 0.3,
}
"""Misfortunes of workers and hosts between their calls -> how often."""


class Fate(Struct, frozen=True):
    """Probabilities at each call of a process to the outside, and the weights of the faults.

    `jumps`: the amounts by which the wall clock is set.
    """

    crash: float = 0
    busy: float = 0
    interrupted: float = 0
    commit_reported_failed: bool = False
    lost_wake_ups: float = 0
    jumps: tuple[int, ...] = ()
    blows: dict[str, float] = {}


def drawn(rng: Random) -> Fate:
    """The faults of one seed: about half of all kinds, each often or seldom."""
    return Fate(
        crash=rng.choice([0, 0.0005, 0.002]),
        busy=rng.choice([0, 0.01, 0.1]),
        interrupted=rng.choice([0, 0.005, 0.02]),
        commit_reported_failed=rng.random() < 0.3,
        lost_wake_ups=rng.choice([0, 0.3, 1]),
        jumps=rng.choice([(-SECOND, SECOND), (-HOUR, HOUR), (-10 * YEAR, -YEAR, YEAR, 10 * YEAR)]),
        blows={blow: weight for blow, weight in BLOWS.items() if rng.random() < 0.7},
    )
