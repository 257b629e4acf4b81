"""The audit's own view of dependencies: how jobs and batches have ended, and whether a dependency is met.

It shares nothing with `domain/dependencies.py`, whose rules the audit checks.
"""

from collections import Counter
from collections.abc import Iterable

from queuectl.domain.events import After

__all__ = ["Ends"]

_LIVE = ("pending", "processing")
_MEETS = {"ok": ("done",), "end": ("done", "dlq", "cancelled"), "failed": ("dlq",)}


class Ends:
    """How jobs ended, as the events say so far. A purge leaves that as it was, a requeue makes the job live again."""

    def __init__(self) -> None:
        self._ends: dict[str, str] = {}
        self._batches: dict[str, Counter[str]] = {}

    def move(self, job_id: str, batch: str | None, state: str) -> None:
        """A job came into a state."""
        before = self._ends.get(job_id)
        end = before if state == "purged" else None if state in _LIVE else state
        if end is not None:
            self._ends[job_id] = end
        else:
            self._ends.pop(job_id, None)
        if batch is not None:
            counts = self._batches.setdefault(batch, Counter())
            counts[before or "live"] -= 1
            counts[end or "live"] += 1

    def join(self, batch: str | None) -> None:
        """A job was added to a batch."""
        if batch is not None:
            self._batches.setdefault(batch, Counter())["live"] += 1

    def unmet(self, edges: Iterable[After]) -> list[str]:
        """The names of what is not met at this moment."""
        return [each.name for each in edges if not self._is_met(each)]

    def _is_met(self, edge: After) -> bool:
        if edge.kind == "job":
            return self._ends.get(edge.name) in _MEETS[edge.on]
        counts = self._batches.get(edge.name, Counter())
        if counts["live"]:
            return False
        if edge.on == "failed":
            return counts["dlq"] > 0
        return edge.on == "end" or not (counts["dlq"] or counts["cancelled"])
