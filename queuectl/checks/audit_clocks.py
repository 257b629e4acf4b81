"""The audit's own view of when jobs are due, by the clocks of the events: also of waits that a clock ahead recorded.

It shares nothing with `domain/job.py` and `store/sql/misdated.py`, whose rules the audit checks.
"""

from bisect import bisect_right

from queuectl.checks.audit_state import AuditedJob
from queuectl.domain import events as e
from queuectl.units import SECOND

__all__ = ["ClockAudit"]

INACCURACY = SECOND
"""By so much the wall clock may differ from the clock on which a worker measures how long it has waited."""


class ClockAudit:
    """Follows the clocks of all events, the waits of jobs, and the starts of workers.

    A wait that begins later than the clock of the claim was recorded by a clock that was ahead. It then counts from
    when the clock was right again: since the earliest clock of all later events, or as long as the claim says that its
    worker has seen it. That may be longer than the clocks show, as when a clock is set back twice with no event in
    between. Logs of older versions do not say it: there a worker that had started before the wait was recorded, or with
    a wrong clock, is believed.
    """

    def __init__(self) -> None:
        self._last = 0
        self._set_back: list[tuple[int, int]] = []
        self._just_set: list[AuditedJob] = []
        self._started: dict[tuple[str, str, int], tuple[int, int]] = {}

    def event(self, record: e.RecordedEvent) -> None:
        """The next event of the log."""
        clock = record.clock
        for job in self._just_set:
            job.next_clock = clock
        self._just_set.clear()
        if clock < self._last:
            while self._set_back and self._set_back[-1][1] >= clock:
                self._set_back.pop()
            self._set_back.append((record.position, clock))
        self._last = clock

    def started(self, name: str, event: e.WorkerStarted, record: e.RecordedEvent) -> None:
        """A worker started."""
        self._started[name, event.host, event.pid] = record.position, record.clock

    def wait(self, job: AuditedJob, record: e.RecordedEvent, wait: int, at: int | None = None) -> None:
        """The event makes the job wait so long (microseconds), or until a given time."""
        job.due_at, job.waits_from = (record.clock + wait, record.clock) if at is None else (at, None)
        job.set_at = record.position
        self._just_set.append(job)

    def early(self, job: AuditedJob, claim: e.Claimed, now: int) -> int:
        """How long before its time a job was claimed, at `now` (all in microseconds); at most 0: it was due."""
        if job.waits_from is None or job.waits_from <= now:
            return job.due_at - now
        if claim.waited is None and self._may_have_seen_more(job, claim, now):
            return 0
        missing = job.due_at - job.waits_from - max(claim.waited or 0, now - self._earliest_since(job))
        return missing if missing > INACCURACY else 0

    def _may_have_seen_more(self, job: AuditedJob, claim: e.Claimed, now: int) -> bool:
        """Whether the worker may have seen more of the wait than the log: it was there before, or began with a clock
        that was ahead.
        """
        position, clock = self._started.get((claim.worker, claim.host, claim.pid), (0, now))
        return position < job.set_at or clock > now

    def _earliest_since(self, job: AuditedJob) -> int:
        """The earliest clock of all events after the one that made the job wait."""
        after = bisect_right(self._set_back, job.set_at, key=lambda turn: turn[0])
        return min([job.next_clock, *(clock for _, clock in self._set_back[after : after + 1])])
