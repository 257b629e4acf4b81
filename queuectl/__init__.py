"""queuectl: a background job queue for the command line whose event log is the source of truth.

From Python: `queuectl.open_queue("queue.db").enqueue("make")` (docs/python.md). Names are loaded when they are used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queuectl.api import Event, Failures, Job, JobQueue, Schedule, open_queue
    from queuectl.application.queue import NewJob, Queue, Receipt
    from queuectl.errors import (
        NoSuchJobError,
        QueuectlError,
        RefusedError,
        StoreBusyError,
        StoreError,
        UsageError,
        WaitTimedOutError,
    )
    from queuectl.runtime import SystemClock
    from queuectl.store import open_store

__version__ = "0.1.0"

__all__ = [
    "Event",
    "Failures",
    "Job",
    "JobQueue",
    "NewJob",
    "NoSuchJobError",
    "Queue",
    "QueuectlError",
    "Receipt",
    "RefusedError",
    "Schedule",
    "StoreBusyError",
    "StoreError",
    "SystemClock",
    "UsageError",
    "WaitTimedOutError",
    "__version__",
    "open_queue",
    "open_store",
]

_HOMES = {
    "Event": "api",
    "Failures": "api",
    "Job": "api",
    "JobQueue": "api",
    "NewJob": "application.queue",
    "NoSuchJobError": "errors",
    "Queue": "application.queue",
    "QueuectlError": "errors",
    "Receipt": "application.queue",
    "RefusedError": "errors",
    "Schedule": "api",
    "StoreBusyError": "errors",
    "StoreError": "errors",
    "SystemClock": "runtime",
    "UsageError": "errors",
    "WaitTimedOutError": "errors",
    "open_queue": "api",
    "open_store": "store",
}


if not TYPE_CHECKING:  # a checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        """A public name, from the module that owns it."""
        if name not in _HOMES:
            raise AttributeError(f"module 'queuectl' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"queuectl.{_HOMES[name]}"), name)
