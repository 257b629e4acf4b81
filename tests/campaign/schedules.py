"""Schedules: simulated years in forty zones, with kills, two workers, clock jumps, pauses and changes.

Each seed is one year of up to three schedules, every fourth on PostgreSQL.
The audit calculates every slot again from the log.
"""

from functools import partial

import pytest

from tests.campaign.places import of_postgres, place
from tests.campaign.plan import Attempt, Campaign, Control, fault
from tests.simulation.schedule_mutants import advance_first, jobs_first
from tests.simulation.schedules import DAY, SimulatedYear

__all__ = ["CAMPAIGN"]


def attempt(seed: int) -> Attempt:
    """Let one year pass; every finding of the audit is a fault."""
    with place(seed) as url:
        year = SimulatedYear(seed, url)
        began = year.clock.elapsed
        try:
            judged = year.run()
            days = (year.clock.elapsed - began) // DAY
            faults = [fault(each.rule, each.what) for each in judged.findings]
            counted = {"slots decided on": judged.checked["slot"], "kills": year.died, "clock jumps": year.jumps}
            return Attempt(days, faults, {**counted, "days on PostgreSQL": of_postgres(seed) * days})
        except Exception as error:
            return Attempt((year.clock.elapsed - began) // DAY, [fault(type(error).__name__, error)])
        finally:
            year.close()


def mutant(put_in, seed: int) -> Attempt:
    """A year in which notes and jobs are appended in two transactions."""
    with pytest.MonkeyPatch.context() as patch:
        put_in(patch)
        year = SimulatedYear(seed)
        year.mortality = 0.1
        judged = year.run(0.2)
        year.close()
        return Attempt(1, [each.what for each in judged.findings if each.rule == "slot"])


CAMPAIGN = Campaign(
    name="schedules",
    unit="simulated days",
    short=3_650,
    full=365_000,
    attempt=attempt,
    controls=[
        Control("mutant: a slot is noted before its job is added", partial(mutant, advance_first)),
        Control("mutant: a job is added in another transaction than its note", partial(mutant, jobs_first)),
    ],
)
