"""Simulation: hosts, workers and people in virtual time on the real store, every seed lived twice.

What is counted is simulated hours; most of them pass while nothing is due (`Simulation.rest`).
"""

import logging
import re
from functools import partial

import pytest

from queuectl.domain.events import RecordedEvent
from tests.campaign.plan import Attempt, Campaign, Control
from tests.campaign.seeded_bugs import BUGS, Bug
from tests.simulation.simulation import Simulation
from tests.simulation.world import SECOND

__all__ = ["CAMPAIGN"]

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


def attempt(seed: int) -> Attempt:
    """One life, twice: the oracle has nothing to say, and the logs are equal."""
    first, second = Simulation(seed), Simulation(seed)
    faults = [fault for life in (first, second) if (fault := complaint(life))]
    if not faults and _log(first) != _log(second):
        faults = ["repeated: the same seed has two different logs"]
    return Attempt(
        tries=first.clock.elapsed // HOUR,
        faults=faults,
        counted={
            "minutes of them tick by tick": (first.clock.elapsed - first.rested) // MINUTE,
            "steps": first.steps,
            "events": first.oracle.position,
        },
    )


def complaint(life: Simulation) -> str:
    """What is wrong with a life, whatever its jobs and workers are called; empty when nothing is."""
    return re.sub(r"\d+", "N", raw_complaint(life))


def raw_complaint(life: Simulation) -> str:
    """The same in full. An error that a simulated process should have dealt with is one too."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        life.run_all()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        logging.disable(disabled)
    return ""


def _log(life: Simulation) -> list[RecordedEvent]:
    """The log without its digests, which hang on random salts."""
    return [record.at(digest=b"") for record in life.store.log.records()]


def with_bug(bug: Bug, seed: int) -> Attempt:
    """Only the complaint that is expected counts: a bug may do other harm first."""
    with pytest.MonkeyPatch.context() as patch:
        bug.put_in(patch.setattr)
        found = raw_complaint(Simulation(seed))
    return Attempt(1, [found] if re.search(bug.seen, found) else [])


CAMPAIGN = Campaign(
    name="simulation",
    unit="simulated hours",
    short=130_000,
    full=876_600,
    attempt=attempt,
    controls=[Control(f"seeded bug: {bug.name}", partial(with_bug, bug), 60) for bug in BUGS],
)
