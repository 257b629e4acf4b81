"""The errors of a store: stored data that fails its checks, and conflicts between writers."""

from queuectl.errors import StoreError, runnable
from queuectl.store.remedies import RECOVER

__all__ = ["DamagedError", "DamagedEventError", "NoTextError", "VersionConflictError"]


class VersionConflictError(Exception):
    """The stream has a newer version, or the unique key is taken: load the job and decide again."""


class DamagedError(StoreError):
    """The log or its database is damaged. `remedy` says what to do: a command, or a sentence if there is none."""

    remedy = RECOVER

    def __str__(self) -> str:
        return self._with(runnable(self.remedy))

    @property
    def for_tables(self) -> str:
        """The message as a row stores it: its command does not name the queue as this process does."""
        return self._with(self.remedy)

    def _with(self, remedy: str) -> str:
        advice = f"run `{remedy}`" if remedy.startswith("queuectl ") else remedy
        return f"{super().__str__()}: {advice}"


class DamagedEventError(DamagedError):
    """An event's digest or data is damaged."""

    def __init__(self, position: int, stream_id: str, why: str) -> None:
        super().__init__(f"event {position} of {stream_id} is damaged ({why})")
        self.position, self.stream_id, self.why = position, stream_id, why


class NoTextError(StoreError):
    """A table holds bytes that are not text: run `queuectl rebuild`."""
