"""A worker's slots: each has a job in it, why it is being ended, if it is, and what its end then is to the log."""

from collections.abc import Callable
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM

from msgspec.structs import replace

from queuectl.domain import events as e
from queuectl.domain.commands import Command, Exit, Release, Report
from queuectl.domain.job import Job

__all__ = ["FREED", "LEASE", "OUT_OF_REACH", "Slot", "outcome"]

LEASE, FREED = "lease", "another worker has freed it"
OUT_OF_REACH = "its worker did not reach the store for as long as its lease"


@dataclass(slots=True)
class Slot:
    """A place with a job in it: until when it may run, and, once it is being ended, why and when it is killed."""

    job: Job
    deadline: int | None
    ending: str = ""
    kill_at: int | None = None


def outcome(slot: Slot, end: Exit, chance: Callable[[], float]) -> Command:
    """What to record of a run that ended."""
    job = slot.job
    if slot.ending == LEASE and end.cause == e.Signalled(SIGKILL):  # what had ended by itself still counts
        return Release(job.id, job.run, OUT_OF_REACH, end)
    if slot.ending == "stop":
        return Release(job.id, job.run, "the worker was stopped", end)
    if slot.ending == "timeout":
        end = replace(end, cause=e.TimedOut(job.spec.timeout or 0))
    if slot.ending == "cancel":
        end = replace(end, cause=end.cause or e.Signalled(SIGTERM))
    return Report(job.id, job.run, end, chance())
