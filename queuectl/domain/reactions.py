"""Reactions: the events that follow from other events. The process that appends those appends them too, in the same
transaction.

The view answers from the tables. Only cancelled jobs have consequences of their own, and those are worked off in a loop
by the caller.
"""

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from queuectl.domain.events import Cancelled, DependenciesMet, Event
from queuectl.domain.job import Job
from queuectl.domain.machine import State

__all__ = ["MOST_WAITING", "Freed", "Lost", "View", "has_fallen_back", "reactions", "why_stopped"]

MOST_WAITING = 100_000
"""Jobs that may wait for one job or batch, or be pending in a batch with a limit of failures, so that an event with
consequences does not hold the log's lock for long.
"""


class Freed(Struct, frozen=True):
    """A job all of whose dependencies are met. `by`: the position of the event that met the last one, 0 for none."""

    job_id: str
    by: int


class Lost(Struct, frozen=True):
    """A job that is to be cancelled, and why: a dependency cannot be met, or its batch has too many failures.

    `by`: the position of the event that led to this, 0 for none.
    """

    job_id: str
    why: str
    by: int


class View(Protocol):
    """The changes that concern waiting jobs."""

    def freed(self) -> Iterable[Freed]:
        """The jobs that can start now."""

    def lost(self) -> Iterable[Lost]:
        """The jobs that are to be cancelled now."""


def reactions(view: View) -> list[tuple[str, Event]]:
    """The streams and events that follow, each stream once."""
    lost: dict[str, Event] = {each.job_id: Cancelled(reason=each.why, by=each.by) for each in view.lost()}
    freed: dict[str, Event] = {
        each.job_id: DependenciesMet(by=each.by) for each in view.freed() if each.job_id not in lost
    }
    return [*freed.items(), *lost.items()]


def has_fallen_back(before: Job | None, after: Job) -> bool:
    """Whether a job of a batch is now in the dead-letter queue, or pending again after it was claimed.

    Only then the limit of failures of its batch is looked at: a person's retry of a single job is not undone at once.
    """
    if before is None or after.spec.batch is None:
        return False
    if after.state is State.DLQ:
        return before.state is not State.DLQ
    return before.state is State.PROCESSING and after.state is State.PENDING


def why_stopped(batch: str, max_failures: int) -> str:
    """Why the pending jobs of a batch were cancelled: `batch grid: more than 5 failures`."""
    return f"batch {batch}: more than {max_failures} failure{'' if max_failures == 1 else 's'}"
