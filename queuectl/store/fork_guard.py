"""Refuses a store that was opened before a fork: a connection must be used by one process only.

A forked child shares the server connection and would read the parent's replies. On a file it inherits SQLite's belief
that it holds locks, but not the locks; its commits can be lost when another process removes the WAL. A fork handler
records the fork, so that the check costs no system call.
"""

import os
from weakref import WeakSet

from queuectl.errors import StoreError

__all__ = ["Opener", "check_inherited"]

_inherited: set[str] = set()


class Opener:
    """The process that opens a store now; `shown` is what messages call the place."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.gone = False
        """Whether this is a process that was forked since."""
        _living.add(self)

    def check(self) -> None:
        """Raises StoreError in a process that was forked since."""
        if self.gone:
            raise _refusal(self.shown)

    def closes(self) -> None:
        """Call when this process has closed the store."""
        _living.discard(self)


_living: WeakSet[Opener] = WeakSet()


def check_inherited(path: str) -> None:
    """Raises StoreError when this process was forked from one that had the file open."""
    if path in _inherited:
        raise _refusal(path)


def _refusal(shown: str) -> StoreError:
    return StoreError(f"this process was forked with the queue {shown} open: close it before, or start a new process")


def _forked() -> None:
    for opener in _living:
        opener.gone = True
        _inherited.add(opener.shown)


os.register_at_fork(after_in_child=_forked)
