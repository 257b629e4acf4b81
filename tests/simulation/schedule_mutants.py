"""Mutants of the decision on slots, which the audit has to find: notes and jobs in two transactions."""

from contextlib import nullcontext

from queuectl.application import schedule_firing
from queuectl.domain import events as e
from queuectl.domain.names import schedule_stream
from queuectl.store.rows import Change
from queuectl.worker.scheduler import Scheduler

__all__ = ["advance_first", "jobs_first"]


def advance_first(patch):
    """It says what it has done, and then does it."""
    _put_in(patch, lambda notes, jobs: [notes, jobs])


def jobs_first(patch):
    """It adds the jobs, and then says so."""
    _put_in(patch, lambda notes, jobs: [jobs, notes])


def _put_in(patch, order):
    def append(store, schedule, events, actor):
        notes = [Change(schedule_stream(schedule.name), schedule.version, events)]
        fired = [event for event in events if isinstance(event, e.ScheduleFired)]
        jobs = list(schedule_firing._jobs(store, schedule, fired))
        for changes in order(notes, jobs):
            store.writer.append(changes, actor)

    patch.setattr(schedule_firing, "append_decision", append)
    patch.setattr(Scheduler, "transaction", lambda self: nullcontext())
