"""Mutation: each small change to the pure half of queuectl is noticed by a narrow test.

A mutant that survives counts as a fault unless tests/data/surviving_mutants.json says why it may.
"""

import json
from functools import cache
from pathlib import Path

from tests.campaign.mutants import mutants
from tests.campaign.nursery import killer
from tests.campaign.plan import Attempt, Campaign, Control

__all__ = ["CAMPAIGN"]

EXPLAINED = Path(__file__).parents[1] / "data" / "surviving_mutants.json"


@cache
def explained() -> dict[str, str]:
    """Mutant -> why it may survive."""
    found: dict[str, str] = json.loads(EXPLAINED.read_text(encoding="utf-8"))
    return found


def attempt(seed: int) -> Attempt:
    """One mutant."""
    mutant = mutants()[seed]
    if killed_by := killer(seed):
        return Attempt(1, counted={"killed": 1, f"killed by {killed_by}": 1})
    if mutant.name in explained():
        return Attempt(1, counted={"explained survivors": 1})
    return Attempt(1, [f"survived: {mutant.name}"])


def nothing_changed(seed: int) -> Attempt:
    """The unchanged build must survive, or something else kills the mutants."""
    return Attempt(1, [] if killer(-1) else ["survived: what is not changed"])


CAMPAIGN = Campaign(
    name="mutation",
    unit="mutants",
    short=40,
    full=100_000,
    attempt=attempt,
    controls=(Control("what is not changed survives", nothing_changed, 1),),
    all_seeds=lambda: len(mutants()),
)
