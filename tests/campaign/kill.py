"""SIGKILL: the real command line, workers and supervisors, killed at random times and at named points of the code."""

import os
from pathlib import Path
from random import Random

from queuectl.application import NewJob, Queue
from queuectl.runtime import new_id
from tests.campaign.plan import Attempt, Campaign, Control
from tests.kill.life import KILLS, Life
from tests.kill.victims import Build
from tests.powerloss.campaign import scratch

__all__ = ["CAMPAIGN"]


def attempt(seed: int, build: Build | None = None) -> Attempt:
    """One life of a queue, in which every process is killed."""
    with scratch() as folder:
        life = Life(Path(folder), Random(seed), build)
        try:
            life.live(KILLS)
            life.end()
        finally:
            life.leave()
    counted = {"of them at a named point": life.at_points, "acknowledged jobs looked for": len(life.jobs)}
    return Attempt(life.kills, life.faults, counted)


def acknowledge_before_commit() -> None:
    """A build whose `enqueue` says that a job is there before it is."""
    enqueue = Queue.enqueue

    def hasty(self: Queue, jobs: list[NewJob]) -> object:
        named = [NewJob(job.spec, job.id or new_id(self.store.now()), job.line) for job in jobs]
        os.write(1, "".join(f"{job.id}\n" for job in named if job.spec.unique is None).encode())
        return enqueue(self, named)

    Queue.enqueue = hasty  # type: ignore[assignment,method-assign]


CAMPAIGN = Campaign(
    name="kill",
    unit="kills",
    short=300,
    full=20_000,
    attempt=attempt,
    controls=(
        Control("a build that acknowledges before it commits", lambda seed: attempt(seed, acknowledge_before_commit)),
    ),
)
