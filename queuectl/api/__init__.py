"""queuectl for Python programs: `open_queue` gives a `JobQueue`, which adds, reads and moves jobs (docs/python.md)."""

from queuectl.api.options import Command, Duration, JobOptions, JobSpec, Moment
from queuectl.api.queue import JobQueue, open_queue
from queuectl.api.records import Event, Failures, Job, JobState, Schedule

__all__ = [
    "Command",
    "Duration",
    "Event",
    "Failures",
    "Job",
    "JobOptions",
    "JobQueue",
    "JobSpec",
    "JobState",
    "Moment",
    "Schedule",
    "open_queue",
]
