"""Where the log and its tables are kept: one switch on the URL's scheme."""

import os
from typing import TYPE_CHECKING

from queuectl.errors import StoreError

if TYPE_CHECKING:
    from queuectl.runtime import Clock
    from queuectl.store.base import EventStore

__all__ = ["open_store"]


def open_store(url: str, clock: "Clock", busy_timeout: int = 10_000_000) -> "EventStore":
    """The store at a path, `sqlite:///path`, or `:memory:`; `busy_timeout` is microseconds. Raises StoreError."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        path = url
    elif scheme == "sqlite":
        path = rest.removeprefix("/") or ":memory:"
    else:
        raise StoreError(f"no store for {scheme}:// in this version: use a path, or sqlite:///PATH")
    from queuectl.store.sqlite import SqliteStore

    return SqliteStore(path if path == ":memory:" else os.path.abspath(path), clock, busy_timeout)
