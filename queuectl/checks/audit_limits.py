"""The audit's own view of batches with a limit of failures: their failures, and the jobs that have to be cancelled.

It shares nothing with `domain/reactions.py` and `store/sql/failure_limits.py`, whose rules the audit checks.
"""

from collections import Counter

from queuectl.domain import events as e

__all__ = ["LimitAudit"]

_ONE_APPEND = (
    *(e.Completed, e.RetryScheduled, e.DeadLettered, e.Released, e.Cancelled),
    *(e.ResultRejected, e.DependenciesMet),
)
"""Events that may come between a failure and the cancellations that follow from it: results, other consequences."""


class LimitAudit:
    """Follows the moves of jobs in batches.

    When a job of a batch fails for good or is pending again after a run, and more jobs of the batch have failed than
    its limit allows, then the jobs that are pending are to be cancelled in the same append. A person may retry one of
    them afterwards: it may run.
    """

    def __init__(self) -> None:
        self._limits: dict[str, int | None] = {}
        self._failed: Counter[str] = Counter()
        self._pending: dict[str, dict[str, None]] = {}
        self._doomed: dict[str, str] = {}
        self._exceeded: str | None = None

    def opened(self, batch: str, limit: int | None) -> None:
        """Jobs were added to a batch; its limit is this one from now on."""
        self._limits[batch] = limit

    def move(self, job_id: str, batch: str | None, before: str, after: str) -> None:
        """A job came from one state into another; from `""` when it is new."""
        if batch is None:
            return
        self._failed[batch] += (after == "dlq") - (before == "dlq")
        pending = self._pending.setdefault(batch, {})
        if after == "pending":
            pending[job_id] = None
        else:
            pending.pop(job_id, None)
            self._doomed.pop(job_id, None)
        if before == "processing" and after in ("dlq", "pending"):
            self._look_at(batch)

    def _look_at(self, batch: str) -> None:
        limit = self._limits.get(batch)
        if limit is not None and self._failed[batch] > limit:
            self._exceeded = batch
            self._doomed |= dict.fromkeys(self._pending[batch], batch)

    def is_due(self, event: e.Event | None) -> bool:
        """Whether a limit was exceeded, and before this event, or the end of the log, its jobs had to be cancelled."""
        return self._exceeded is not None and not isinstance(event, _ONE_APPEND)

    def left(self) -> tuple[str, list[str]]:
        """The batch whose limit was exceeded, and the jobs that were to be cancelled and are still pending."""
        found = self._exceeded or "", [*self._doomed]
        self._exceeded, self._doomed = None, {}
        return found
