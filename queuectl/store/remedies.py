"""The commands and sentences that repair a store, which differ between a file and a server."""

from msgspec import Struct

__all__ = ["IN_A_FILE", "ON_A_SERVER", "RECOVER", "Remedies"]

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
