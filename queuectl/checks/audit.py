"""Checks from the log alone that the queue followed its own rules, in one pass over the events.

It has its own table of moves and its own arithmetic and shares no rule with `domain/`, so that it finds mistakes made
there. It trusts every event; `verify` checks that the log was not changed.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from msgspec import Struct

from queuectl.checks.audit_after import Ends
from queuectl.checks.audit_clocks import ClockAudit
from queuectl.checks.audit_limits import LimitAudit
from queuectl.checks.audit_rules import LIVE, MOVES, NOTES, RULES
from queuectl.checks.audit_slots import SlotAudit
from queuectl.checks.audit_state import AuditedJob, EndedJob, OpenClaim, amended, full_wait, settings_of
from queuectl.domain import events as e

__all__ = ["RULES", "Audit", "Finding", "audit"]

MAX_FINDINGS = 100
"""How many findings are stored. Further ones are only counted."""
ALL_QUEUES = "*"


class Finding(Struct, frozen=True):
    """A broken rule: by which event, of which job or other stream, and how."""

    position: int
    stream_id: str
    rule: str
    what: str


def audit(records: Iterable[e.RecordedEvent], since: int = 0) -> "Audit":
    """Check a log from its beginning; events before position `since` are read but not checked."""
    checked = Audit(since)
    for record in records:
        checked.take(record)
    checked.end()
    return checked


class Audit:
    """Pass every event in order to `take`, and call `end` at the end of the log.

    `checked` counts how often each rule was applied, `found` how often broken.
    Memory grows with the number of live jobs. For an ended job little more than its id is stored.
    """

    def __init__(self, since: int = 0) -> None:
        self.since = since
        self.checked: Counter[str] = Counter(dict.fromkeys(RULES, 0))
        self.found: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self.events = self.losses = self.early_losses = 0
        self.last: e.RecordedEvent | None = None
        self._jobs: dict[str, AuditedJob] = {}
        self._ended: dict[str, EndedJob] = {}
        self._interned: dict[Struct, Any] = {}
        self._notes: dict[str, int] = {}
        self._keys: dict[str, str] = {}
        self._ends = Ends()
        self._paused: set[str] = set()
        self._served: dict[tuple[str, str, int], tuple[str, ...]] = {}
        self._slots = SlotAudit()
        self._limits = LimitAudit()
        self._clocks = ClockAudit()

    @property
    def clean(self) -> bool:
        """Whether no rule was broken."""
        return not self.found

    def open_claims(self, limit: int | None = None) -> list[OpenClaim]:
        """Runs that have no end yet."""
        held = ((job_id, job, job.claim) for job_id, job in self._jobs.items() if job.claim is not None)
        return [OpenClaim(job_id, job.run, claim.worker, job.claimed_at) for job_id, job, claim in islice(held, limit)]

    def take(self, record: e.RecordedEvent) -> None:
        """Check the next event."""
        self._check_limits(record.event)
        self._clocks.event(record)
        before, self.last = self.last, record
        if before is not None:
            follows = record.position == before.position + 1 and record.recorded_at >= before.recorded_at
            self._check("order", follows, "it does not follow event {} in position or time", before.position)
        self.events += record.position >= self.since
        if record.stream_id.startswith("$"):
            self._note(record)
        else:
            self._of_job(record)

    def end(self) -> None:
        """The log ends here: what was to follow its last event is missing."""
        self._check_limits(None)

    def _check_limits(self, following: e.Event | None) -> None:
        """Before the next append: were the pending jobs of a batch cancelled whose limit of failures was exceeded?"""
        if self._limits.is_due(following):
            batch, left = self._limits.left()
            self._check(
                "limit",
                not left,
                "more failures in batch {} than allowed; {} was not cancelled",
                batch,
                ", ".join(left[:3]),
            )

    def _check(self, rule: str, holds: bool, what: str, *facts: object) -> None:
        """Count a rule as applied to the current event; record a finding if it does not hold."""
        record = self.last
        if record is None or record.position < self.since:
            return
        self.checked[rule] += 1
        if holds:
            return
        self.found[rule] += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(record.position, record.stream_id, rule, what.format(*facts)))

    def _check_version(self, record: e.RecordedEvent, before: int) -> None:
        self._check("order", record.version == before + 1, "version {} follows {}", record.version, before)

    # ── notes of queues, workers and settings ───────────────────────────────────────────────────────────

    def _note(self, record: e.RecordedEvent) -> None:
        family, _, name = record.stream_id.partition(":")
        event = record.event
        self._check("stream", type(event) in NOTES.get(family, ()), "a {} is no note of this stream", record.type)
        self._check_version(record, self._notes.get(record.stream_id, 0))
        self._notes[record.stream_id] = record.version
        if family == "$schedule":
            verdict = self._slots.note(record)
            self._check("slot", verdict.holds, "{}", verdict.what)
            return
        match event:
            case e.QueuePaused():
                self._paused.add(name)
            case e.QueueResumed():
                self._paused.discard(name)
            case e.BatchOpened(max_failures=limit):
                self._limits.opened(name, limit)
            case e.WorkerStarted():
                self._served[name, event.host, event.pid] = event.queues
                self._clocks.started(name, event, record)

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────

    def _of_job(self, record: e.RecordedEvent) -> None:
        job_id, event = record.stream_id, record.event
        job = self._job(job_id, event)
        self._check(
            "stream", job is not None and type(event) in _JOB_RULES, "a {} is no event of this job", record.type
        )
        if job is None or type(event) not in _JOB_RULES:
            return
        self._check_version(record, job.version)
        job.version = record.version
        self._check_requeued_with_changes(job, record)
        sources, target = MOVES.get(type(event), ((), ""))
        if target and not (
            type(event) is e.Claimed and job.claim
        ):  # the rule `claim` checks the claim of a claimed job
            self._check("move", job.state in sources, "{} of a job that was {}", record.type, job.state or "not there")
        _JOB_RULES[type(event)](self, job, event, record)
        if target:
            self._move(job_id, job, target)
        self._store(job_id, job)

    def _job(self, job_id: str, event: e.Event) -> AuditedJob | None:
        """The job that an event belongs to: live, ended or new; None when there is no such job."""
        if job := self._jobs.get(job_id):
            return job
        if ended := self._ended.get(job_id):
            found = AuditedJob(ended.settings, ended.state, ended.run, ended.version, amended_at=ended.amended_at)
            found.is_waiting = ended.is_waiting
            return found
        return AuditedJob(self._intern(settings_of(event))) if isinstance(event, e.Enqueued) else None

    def _move(self, job_id: str, job: AuditedJob, target: str) -> None:
        if job.state:
            self._ends.move(job_id, job.settings.batch, target)
        else:
            self._ends.join(job.settings.batch)
        self._limits.move(job_id, job.settings.batch, job.state, target)
        job.state = target
        if target != "processing":
            job.claim, job.cancel_asked = None, False
        key = job.settings.unique
        if target not in LIVE and key is not None and self._keys.get(key) == job_id:
            del self._keys[key]

    def _store(self, job_id: str, job: AuditedJob) -> None:
        if job.state in LIVE:
            self._jobs[job_id] = job
            self._ended.pop(job_id, None)
        else:
            self._jobs.pop(job_id, None)
            self._ended[job_id] = self._intern(
                EndedJob(job.settings, job.state, job.run, job.version, job.is_waiting, job.amended_at)
            )

    def _intern(self, value: Any) -> Any:
        return self._interned.setdefault(value, value)

    # ── the rules for each event of a job ─────────────────────────────────────────────────────────

    def _enqueued(self, job: AuditedJob, event: e.Enqueued, record: e.RecordedEvent) -> None:
        self._clocks.wait(job, record, event.delay, event.at)
        job.is_waiting = bool(event.after)
        self._take_key(job, record.stream_id)
        self._slots.enqueued(record.stream_id, event.origin)

    def _requeued(self, job: AuditedJob, event: e.Requeued, record: e.RecordedEvent) -> None:
        job.attempts = job.least_allowed = 0
        self._clocks.wait(job, record, event.delay)
        self._take_key(job, record.stream_id)

    def _dependencies_met(self, job: AuditedJob, event: e.DependenciesMet, record: e.RecordedEvent) -> None:
        self._check("after", job.is_waiting and job.state == "pending", "it was freed and did not wait")
        if not event.forced:
            unmet = self._ends.unmet(job.settings.after)
            self._check("after", not unmet, "freed, but {} had not ended as wanted", ", ".join(unmet[:3]))
            self._check("after", event.by < record.position, "freed by the later event {}", event.by)
        job.is_waiting = False
        self._clocks.wait(job, record, job.settings.delay)
        if job.settings.at is not None and job.settings.at > job.due_at:
            self._clocks.wait(job, record, 0, job.settings.at)

    def _take_key(self, job: AuditedJob, job_id: str) -> None:
        key = job.settings.unique
        if key is not None:
            holder = self._keys.setdefault(key, job_id)
            self._check("unique", holder == job_id, "the live job {} has its unique key {!r}", holder, key)

    def _claimed(self, job: AuditedJob, event: e.Claimed, record: e.RecordedEvent) -> None:
        now, queue, before = record.recorded_at, job.settings.queue, job.claim
        held = "claimed by {}, while {} had run {}"
        self._check("claim", before is None, held, event.worker, before and before.worker, job.run)
        self._check("run", event.run == job.run + 1, "run {} was claimed after run {}", event.run, job.run)
        early = self._clocks.early(job, event, record.clock)
        self._check("due", early <= 0, "claimed {} us before it was due", early)
        self._check("after", not job.is_waiting, "claimed while its dependencies were not met")
        paused = queue in self._paused or ALL_QUEUES in self._paused
        self._check("pause", not paused, "claimed while its queue {} was paused", queue)
        if served := self._served.get((event.worker, event.host, event.pid)):
            self._check("served", queue in served, "{} claimed it from the queue {}", event.worker, queue)
        job.run, job.claim, job.claimed_at = event.run, event, now

    def _completed(self, job: AuditedJob, event: e.Completed, record: e.RecordedEvent) -> None:
        self._check_run_ends(job, event)
        job.attempts, job.machine_losses = job.attempts + 1, 0

    def _retry_scheduled(self, job: AuditedJob, event: e.RetryScheduled, record: e.RecordedEvent) -> None:
        self._check_no_cancel(job, record)
        self._failed(job, event, record)
        most = job.settings.max_retries
        self._check(
            "attempts", job.attempts <= most, "attempt {} is followed by one more, of {}", job.attempts, most + 1
        )
        self._check_wait(job, event)
        self._clocks.wait(job, record, event.wait)

    def _dead_lettered(self, job: AuditedJob, event: e.DeadLettered, record: e.RecordedEvent) -> None:
        self._check_no_cancel(job, record)
        self._failed(job, event, record)
        allowed = max(job.settings.max_retries + 1, job.least_allowed)
        self._check("attempts", job.attempts == allowed, "given up after attempt {} of {}", job.attempts, allowed)

    def _released(self, job: AuditedJob, event: e.Released, record: e.RecordedEvent) -> None:
        self._check_no_cancel(job, record)
        self._check_run_ends(job, event)
        losses, next_loss = event.machine_losses, job.machine_losses + 1
        self._check("attempts", losses in (0, next_loss), "machine loss {} in a row, after {}", losses, next_loss - 1)
        job.machine_losses = losses
        if event.due_at is None:
            self._clocks.wait(job, record, 0)
        else:
            kept = event.due_at == job.due_at and not event.duration
            self._check("place", kept, "run {} was given back, due at {} and not {}", job.run, event.due_at, job.due_at)

    def _cancelled(self, job: AuditedJob, event: e.Cancelled, record: e.RecordedEvent) -> None:
        if job.claim is not None:
            self._check_run_ends(job, event)
            self._check("cancel", job.cancel_asked, "cancelled while it ran, without a request to cancel it")
        else:
            self._check("left", event.left_behind == 0, "{} processes were left, and it did not run", event.left_behind)

    def _cancel_requested(self, job: AuditedJob, event: e.CancelRequested, record: e.RecordedEvent) -> None:
        asked = "asked to cancel run {}, run {} was {}"
        open_run = job.claim is not None and event.run == job.run
        self._check("run", open_run, asked, event.run, job.run, "open" if job.claim else "over")
        self._check("cancel", not job.cancel_asked, "asked to cancel run {} a second time", event.run)
        job.cancel_asked = job.claim is not None

    def _amended(self, job: AuditedJob, event: e.Amended, record: e.RecordedEvent) -> None:
        changes = event.changes
        job.settings = self._intern(amended(job.settings, changes))
        self._check("edit", job.state != "processing", "changed while it was {}", job.state)
        if changes.after is not None:
            job.is_waiting = bool(changes.after)
        if job.state != "pending":
            job.amended_at = record.position
            return
        if changes.max_retries is not None:
            job.least_allowed = job.attempts + 1
        if changes.delay is not None:
            self._clocks.wait(job, record, changes.delay, changes.at)

    def _check_requeued_with_changes(self, job: AuditedJob, record: e.RecordedEvent) -> None:
        """The event after a change to an ended job requeues it, in the same append."""
        if job.amended_at is not None:
            follows = isinstance(record.event, e.Requeued) and record.position == job.amended_at + 1
            self._check("edit", follows, "changed at {} when it had ended, and not requeued with that", job.amended_at)
            job.amended_at = None

    def _result_rejected(self, job: AuditedJob, event: e.ResultRejected, record: e.RecordedEvent) -> None:
        stale = job.claim is None or event.run != job.run
        self._check("run", stale, "the result of run {} was rejected while that was the open run", event.run)

    # ── how runs end ────────────────────────────────────────────────────────────────────────────────────

    def _check_run_ends(self, job: AuditedJob, event: Any) -> None:
        ends = job.claim is not None and event.run == job.run
        self._check(
            "run", ends, "a result of run {}, run {} was {}", event.run, job.run, "open" if job.claim else "over"
        )
        self._check_left(event, ends)

    def _check_left(self, event: Any, ends: bool) -> None:
        unseen = isinstance(getattr(event, "cause", None), e.LostWorker | e.NotStarted)
        unseen = unseen or getattr(event, "machine_losses", 0) > 0
        right = event.left_behind == 0 or (event.left_behind > 0 and not unseen)
        if ends:
            self._check(
                "left",
                right,
                "{} processes were left by a run that {}",
                event.left_behind,
                "nobody saw end" if unseen else "ended",
            )

    def _check_no_cancel(self, job: AuditedJob, record: e.RecordedEvent) -> None:
        self._check("cancel", not job.cancel_asked, "{} after a request to cancel it", record.type)

    def _failed(self, job: AuditedJob, event: e.RetryScheduled | e.DeadLettered, record: e.RecordedEvent) -> None:
        self._check_run_ends(job, event)
        job.attempts, job.machine_losses = job.attempts + 1, 0
        if isinstance(event.cause, e.LostWorker):
            self._check_loss(job, event.cause.worker, record.recorded_at)
        if isinstance(event.cause, e.TimedOut):
            limit, lasted = job.settings.timeout, event.duration
            right = limit is not None and event.cause.after == limit <= lasted
            self._check("timeout", right, "timed out after {} us, its timeout was {} us", lasted, limit)

    def _check_loss(self, job: AuditedJob, worker: str, now: int) -> None:
        if job.claim is not None:
            self._check(
                "loss", worker == job.claim.worker, "{} was lost, but {} had the claim", worker, job.claim.worker
            )
            self.losses += 1
            self.early_losses += now - job.claimed_at < job.claim.lease

    def _check_wait(self, job: AuditedJob, event: e.RetryScheduled) -> None:
        lost = isinstance(event.cause, e.LostWorker)
        jittered = job.settings.jitter and not lost
        valid = 0 <= event.jitter < 1 if event.jitter is not None else not jittered
        valid = valid and (event.jitter is None or jittered)
        self._check("backoff", valid, "a jitter of {}", event.jitter)
        wait = 0.0 if lost else full_wait(job.settings, job.attempts) * (1 if event.jitter is None else event.jitter)
        right = abs(event.wait - wait) <= 1 + wait / 10**9
        self._check("backoff", right, "a wait of {} us, should be {:.0f} us", event.wait, wait)


_JOB_RULES: dict[type[e.Event], Callable[[Audit, AuditedJob, Any, e.RecordedEvent], None]] = {
    e.Enqueued: Audit._enqueued,
    e.Claimed: Audit._claimed,
    e.Completed: Audit._completed,
    e.RetryScheduled: Audit._retry_scheduled,
    e.DeadLettered: Audit._dead_lettered,
    e.Released: Audit._released,
    e.Cancelled: Audit._cancelled,
    e.Requeued: Audit._requeued,
    e.Purged: lambda *_: None,
    e.DependenciesMet: Audit._dependencies_met,
    e.CancelRequested: Audit._cancel_requested,
    e.Amended: Audit._amended,
    e.ResultRejected: Audit._result_rejected,
}
