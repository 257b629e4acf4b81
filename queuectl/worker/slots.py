"""A worker's slots: the job in each, why it is being stopped, and the command that records its end."""

from collections.abc import Callable
from signal import SIGKILL, SIGTERM

from msgspec import Struct
from msgspec.structs import replace

from queuectl.domain import events as e
from queuectl.domain.commands import Command, Exit, Release, Report
from queuectl.domain.job import Job

__all__ = [
    "BATCH_STOPPED",
    "FENCED",
    "FREED",
    "NO_SLOT",
    "OUT_OF_REACH",
    "PAUSED",
    "STOPPING",
    "TOO_LATE",
    "Slot",
    "outcome",
]

FENCED, FREED = "lease", "another worker has freed it"
OUT_OF_REACH = "its worker could not reach the store for the length of its lease"
TOO_LATE = "its worker could not start it within its lease"
NO_SLOT, PAUSED, STOPPING = "its worker had no free slot for it", "its queue was paused", "its worker was stopped"
BATCH_STOPPED = "its batch has too many failures"
"""Why a job that was claimed and has not started is given back."""


class Slot(Struct, eq=False):
    """One running job, and when its timeout is over. While it is being stopped: why, and when to kill it.

    `number` is from 0 on, and no other running job of this worker has it.
    """

    job: Job
    number: int
    deadline: int | None
    ending: str = ""
    kill_at: int | None = None


def outcome(slot: Slot, end: Exit, random: Callable[[], float]) -> Command:
    """The command that records the end of a run."""
    job = slot.job
    if slot.ending == FENCED and end.cause == e.Signalled(SIGKILL):  # a command that had ended before keeps its result
        return Release(job.id, job.run, OUT_OF_REACH, end)
    if slot.ending == "stop":
        return Release(job.id, job.run, "the worker was stopped", end)
    if slot.ending == "timeout":
        end = replace(end, cause=e.TimedOut(job.spec.timeout or 0))
    if slot.ending == "cancel":
        end = replace(end, cause=end.cause or e.Signalled(SIGTERM))
    return Report(job.id, job.run, end, random())
