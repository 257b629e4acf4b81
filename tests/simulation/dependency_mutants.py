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


def unsearched(patch):
    """Nobody looks for cycles."""
    patch.setattr(cycles._Search, "chain", lambda self, after, wanted: [])


MUTANTS = (lost, early, twice, unedited, unsearched)
