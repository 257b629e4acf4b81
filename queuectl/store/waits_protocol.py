"""The part of the tables' protocol that is about jobs that wait for others."""

from typing import Protocol

from queuectl.store.rows import Waiting, WaitRow

__all__ = ["WaitsReader"]


class WaitsReader(Protocol):
    """Reads what jobs wait for."""

    def waits(self, job_id: str | None = None) -> list[WaitRow]:
        """The dependencies of one job that waits, or of all such jobs."""

    def waiting(self) -> list[Waiting]:
        """How many jobs of each queue wait for others, and how many of these are held."""

    def crowd(self, kind: str, name: str) -> int:
        """How many jobs wait for a job or a batch."""
