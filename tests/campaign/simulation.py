"""Simulation: hosts, workers and people in virtual time on the real store, every seed lived twice.

The campaign counts simulated hours; most of them pass while nothing is due (`Simulation.rest`).
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
    """Run one seed twice: the oracle must find no fault, and both logs must be equal."""
    first, second = Simulation(seed), Simulation(seed)
    faults = [fault for life in (first, second) if (fault := fault_of(life))]
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


def fault_of(life: Simulation) -> str:
    """The fault of a simulated life without names of jobs and workers; empty if there is none."""
    return re.sub(r"\d+", "N", raw_fault_of(life))


def raw_fault_of(life: Simulation) -> str:
    """The same with names. An error that a simulated process did not handle is a fault too."""
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
    """The log without its digests, which depend on random salts."""
    return [record.at(digest=b"") for record in life.store.log.records()]


def with_bug(bug: Bug, seed: int) -> Attempt:
    """Only the expected fault counts: a bug may do other harm first."""
    with pytest.MonkeyPatch.context() as patch:
        bug.put_in(patch.setattr)
        found = raw_fault_of(Simulation(seed))
    return Attempt(1, [found] if re.search(bug.seen, found) else [])


CAMPAIGN = Campaign(
    name="simulation",
    unit="simulated hours",
    short=130_000,
    full=876_600,
    attempt=attempt,
    controls=[Control(f"seeded bug: {bug.name}", partial(with_bug, bug), 60) for bug in BUGS],
)
