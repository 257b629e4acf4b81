"""Reactions: the events that follow from other events, appended in the same transaction by whoever appended those.

The view answers from the tables. Only a dependency with `cancel` has consequences of its own, and those are worked off
in a loop by the caller.
"""

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from queuectl.domain.events import Cancelled, DependenciesMet, Event

__all__ = ["MOST_WAITING", "Freed", "Lost", "View", "reactions"]

MOST_WAITING = 100_000
"""Jobs that may wait for one job or batch, so that its end does not hold the log's lock for long."""


class Freed(Struct, frozen=True):
    """A job all of whose dependencies are met. `by`: the position of the event that met the last one, 0 for none."""

    job_id: str
    by: int


class Lost(Struct, frozen=True):
    """A job that is to be cancelled because a dependency cannot be met, and the sentence that says why."""

    job_id: str
    why: str


class View(Protocol):
    """What has changed for the jobs that wait."""

    def freed(self) -> Iterable[Freed]:
        """The jobs that can start now."""

    def lost(self) -> Iterable[Lost]:
        """The jobs that are to be cancelled now."""


def reactions(view: View) -> list[tuple[str, Event]]:
    """The streams and events that follow, each stream once."""
    freed: list[tuple[str, Event]] = [(each.job_id, DependenciesMet(by=each.by)) for each in view.freed()]
    return freed + [(each.job_id, Cancelled(reason=each.why)) for each in view.lost()]
