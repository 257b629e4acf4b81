"""queuectl: a background job queue for the command line whose event log is the source of truth.

From Python: `Queue(open_store(path, SystemClock()), actor)`. The names are loaded when they are asked for.
"""

from typing import Any

__version__ = "0.1.0"

__all__ = ["NewJob", "Queue", "Receipt", "SystemClock", "__version__", "open_store"]

_HOMES = {
    "NewJob": "application.queue",
    "Queue": "application.queue",
    "Receipt": "application.queue",
    "SystemClock": "runtime",
    "open_store": "store",
}


def __getattr__(name: str) -> Any:
    """A public name, from the module that owns it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'queuectl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"queuectl.{_HOMES[name]}"), name)
