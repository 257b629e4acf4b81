"""The errors of a store (stored data that fails its checks, conflicts between writers), and the remedies of damage."""

from msgspec import Struct

from queuectl.errors import StoreError, runnable

__all__ = [
    "IN_A_FILE",
    "ON_A_SERVER",
    "RECOVER",
    "DamagedError",
    "DamagedEventError",
    "NoTextError",
    "Remedies",
    "VersionConflictError",
]

RECOVER = "queuectl recover"
"""Repairs a queue in a file: the remedy of most damage, unless the store is on a server."""


class Remedies(Struct, frozen=True):
    """`log` repairs a damaged log, `archive` a damaged archive."""

    log: str
    archive: str

    def advised(self, remedy: str, about: str = "") -> str:
        """The remedy for this kind of store; `about` is `archive` when that is what is damaged."""
        if remedy != RECOVER:
            return remedy
        return self.archive if about == "archive" else self.log


IN_A_FILE = Remedies(log=RECOVER, archive=RECOVER)

ON_A_SERVER = Remedies(
    log="restore a backup of the server, or import what an archive holds into a new schema (docs/postgres.md)",
    archive="move this machine's archive away (docs/postgres.md): the next change writes a new one",
)


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
