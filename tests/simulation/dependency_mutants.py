"""Mutants of dependencies that the oracle has to find: a release that is lost, early or made twice, wrong edits."""

from msgspec.structs import replace

from queuectl.application import dependency_cycles as cycles
from queuectl.domain.events import DependenciesMet
from queuectl.store.sql import reacting
from queuectl.store.sql import waits as table

__all__ = ["MUTANTS"]


def lost(patch):
    """The last of the jobs that are freed at once is forgotten."""
    freed = table.Changed.freed
    patch.setattr(table.Changed, "freed", lambda self: freed(self)[:-1])


def early(patch):
    """A job is freed as soon as one of its dependencies is met."""
    patch.setattr(table, "_FREED", table._FREED.replace(table._ALL_MET, "1 = 1"))


def twice(patch):
    """A job that is freed gets the event two times."""
    changes = reacting._changes

    def appended(log, events):
        return [replace(each, events=[*each.events, *_again(each.events)]) for each in changes(log, events)]

    patch.setattr(reacting, "_changes", appended)


def _again(events):
    return [event for event in events if isinstance(event, DependenciesMet)]


def unedited(patch):
    """An edit of what a waiting job waits for leaves its old rows."""
    patch.setattr(
        table, "_waits_on", lambda step: step.before is not None and step.before.is_waiting and step.after.is_waiting
    )


def still_held(patch):
    """An edit of what happens when a dependency cannot be met is not looked at."""
    right = table._waits_on

    def as_before(step):
        before, after = step.before, step.after
        same = before is not None and before.is_waiting and after.is_waiting and before.spec.after == after.spec.after
        return same or right(step)

    patch.setattr(table, "_waits_on", as_before)


def never_held(patch):
    """A job is cancelled although it was to be held."""
    patch.setattr(table, "_LOST", table._LOST.replace("AND w.if_unmet = 'cancel'", ""))


def unsearched(patch):
    """Nobody looks for cycles."""
    patch.setattr(cycles._Search, "chain", lambda self, after, wanted: [])


MUTANTS = (lost, early, twice, unedited, still_held, never_held, unsearched)
