"""Dependencies: simulated years of random graphs of jobs and batches, with failures, cancels, retries, purges, kills.

Each seed is about a year, every fourth on PostgreSQL.
An oracle with rules of its own checks every start, and who is held.
"""

from functools import partial

import pytest

from tests.campaign.places import of_postgres, place
from tests.campaign.plan import Attempt, Campaign, Control, fault
from tests.simulation.dependencies import DAY, SimulatedGraph
from tests.simulation.dependency_mutants import early, lost, never_held, still_held, twice, unedited, unsearched

__all__ = ["CAMPAIGN"]


def attempt(seed: int) -> Attempt:
    """Let one year pass; what the oracle, the audit or the comparison of the tables reports is a fault."""
    with place(seed) as url:
        graph = SimulatedGraph(seed, url)
        try:
            judged = graph.run()
            days = graph.clock.elapsed // DAY
            faults = [*graph.oracle.faults, *(fault(each.rule, each.what) for each in judged.findings)]
            counted = {
                "dependencies judged": judged.checked["after"],
                "edits of dependencies": graph.oracle.edits,
                "edits of if_unmet": graph.oracle.edits_of_if_unmet,
                "kills": graph.died,
            }
            return Attempt(days, faults, {**counted, "days on PostgreSQL": of_postgres(seed) * days})
        except Exception as error:
            return Attempt(graph.clock.elapsed // DAY, [fault(type(error).__name__, error)])
        finally:
            graph.close()


def mutant(put_in, seed: int) -> Attempt:
    """A year in which jobs are released wrongly."""
    with pytest.MonkeyPatch.context() as patch:
        put_in(patch)
        graph = SimulatedGraph(seed)
        graph.run(200)
        graph.close()
        return Attempt(1, graph.oracle.faults)


CAMPAIGN = Campaign(
    name="dependencies",
    unit="simulated days",
    short=3_650,
    full=365_000,
    attempt=attempt,
    controls=[
        Control("mutant: a release is lost", partial(mutant, lost)),
        Control("mutant: a release is early", partial(mutant, early)),
        Control("mutant: a release is made twice", partial(mutant, twice)),
        Control("mutant: an edit leaves what the job waited for", partial(mutant, unedited)),
        Control("mutant: an edit of if_unmet is not looked at", partial(mutant, still_held)),
        Control("mutant: a held job is cancelled", partial(mutant, never_held)),
        Control("mutant: a job may wait for itself", partial(mutant, unsearched)),
    ],
)
