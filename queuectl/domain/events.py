"""Every event there is. A move changes a job's state, a note records something and changes none.

Durations are integer microseconds, texts are UTF-8 without NUL. `left_behind` is how many background processes of a run
were ended with it; `lock_file` is the device and inode of the file in which a worker has its lock. A struct that
changes needs a higher `SCHEMA` and an upcaster in `store/codec.py`, because every log ever written must open.
"""

from typing import ClassVar

from msgspec import Struct, structs

from queuectl.domain.causes import AnyCause, Cause, Exited, LostWorker, NotStarted, Signalled, TimedOut
from queuectl.domain.changes import Changes
from queuectl.domain.relations import After, Origin, StdinFile

__all__ = [
    "EVENT_TYPES",
    "After",
    "Amended",
    "AnyCause",
    "BatchOpened",
    "CancelRequested",
    "Cancelled",
    "Cause",
    "Changes",
    "Claimed",
    "Completed",
    "DeadLettered",
    "DependenciesMet",
    "Enqueued",
    "Event",
    "Exited",
    "LostWorker",
    "NotStarted",
    "Origin",
    "Purged",
    "QueuePaused",
    "QueueResumed",
    "RecordedEvent",
    "Released",
    "Requeued",
    "ResultRejected",
    "RetryScheduled",
    "ScheduleFired",
    "SchedulePaused",
    "ScheduleRemoved",
    "ScheduleResumed",
    "ScheduleSet",
    "ScheduleSkipped",
    "SettingChanged",
    "Signalled",
    "StdinFile",
    "TimedOut",
    "WorkerLost",
    "WorkerStarted",
    "WorkerStopped",
    "type_of",
]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """A fact, past tense, immutable.

    `clock` is the wall clock when the event was recorded (microseconds since the epoch, UTC). It is stored only when
    it was behind `recorded_at`, which never goes back. Waits count from it, and due times are compared with it.
    """

    SCHEMA: ClassVar[int] = 1

    clock: int | None = None


class Enqueued(Event, tag="enqueued", frozen=True):
    """A job was added: its command and all its settings, as resolved at that moment."""

    command: str
    queue: str
    priority: int
    max_retries: int
    backoff_base: float
    backoff_cap: int
    jitter: bool
    cwd: str
    argv: tuple[str, ...] = ()
    timeout: int | None = None
    delay: int = 0
    at: int | None = None
    env: dict[str, str] = {}
    secret_env: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    unique: str | None = None
    umask: int = 0o022
    batch: str | None = None
    seq: int = 0
    retry_wait: int | None = None
    merge_output: bool = False
    origin: Origin | None = None
    after: tuple[After, ...] = ()
    if_unmet: str = "hold"
    stdin: StdinFile | None = None


class Claimed(Event, tag="claimed", frozen=True):
    """A worker took the job. The claimant's identity is enough to check, without any table, whether it is alive."""

    run: int
    worker: str
    host: str
    boot_id: str
    pid: int
    pid_namespace: int
    pid_started_at: int
    lease: int
    uid: int | None = None
    waited: int | None = None


class Completed(Event, tag="completed", frozen=True):
    """The command ended with exit code 0."""

    run: int
    duration: int
    stdout: str = ""
    stderr: str = ""
    left_behind: int = 0


class RetryScheduled(Event, tag="retry_scheduled", frozen=True):
    """An attempt failed and another follows after `wait`; `jitter` is the random factor in [0, 1) if any."""

    run: int
    cause: AnyCause
    wait: int
    duration: int = 0
    jitter: float | None = None
    stdout: str = ""
    stderr: str = ""
    left_behind: int = 0


class DeadLettered(Event, tag="dead_lettered", frozen=True):
    """An attempt failed and no retry is left: kept for a person to look at."""

    run: int
    cause: AnyCause
    duration: int = 0
    stdout: str = ""
    stderr: str = ""
    left_behind: int = 0


class Released(Event, tag="released", frozen=True):
    """The job was put back and the run costs no attempt: its worker stopped, nothing could be started, or it was lost.

    `machine_losses` is set when the run was lost with its machine: how many runs in a row were.
    `due_at` is set when the run had not started: the time at which the job was due before, which is its place in line.
    """

    run: int
    reason: str
    duration: int = 0
    stdout: str = ""
    stderr: str = ""
    left_behind: int = 0
    machine_losses: int = 0
    due_at: int | None = None


class Cancelled(Event, tag="cancelled", frozen=True):
    """The job was cancelled; `run` is set when its processes were ended for that.

    `by` is set when it follows from another event: the position of the failure after which its batch had too many, or
    of the end of the job after which its dependencies could no longer be met.
    """

    reason: str = ""
    run: int | None = None
    duration: int = 0
    stdout: str = ""
    stderr: str = ""
    left_behind: int = 0
    by: int = 0


class Requeued(Event, tag="requeued", frozen=True):
    """A finished or purged job was put back: pending at once or after `delay`, attempts at 0."""

    reason: str = ""
    delay: int = 0


class Purged(Event, tag="purged", frozen=True):
    """The job left the tables; the log keeps its history."""

    reason: str = ""


class CancelRequested(Event, tag="cancel_requested", frozen=True):
    """Someone asked to cancel a running job; its worker ends it, unless it completes first."""

    run: int
    reason: str = ""


class Amended(Event, tag="amended", frozen=True):
    """Someone changed the promise of a pending job, or of an ended one that is requeued with the change."""

    changes: Changes
    reason: str = ""


class ResultRejected(Event, tag="result_rejected", frozen=True):
    """A run that is no longer the current one reported a result; it changed nothing."""

    run: int
    outcome: str
    duration: int = 0


class DependenciesMet(Event, tag="dependencies_met", frozen=True):
    """All that the job waited for is met at this moment, or someone started it without (`forced`)."""

    by: int = 0
    forced: bool = False
    reason: str = ""


class SettingChanged(Event, tag="setting_changed", frozen=True):
    """`config set` (a value) or `config unset` (None)."""

    key: str
    value: str | None


class QueuePaused(Event, tag="queue_paused", frozen=True):
    """Claiming from the queue stopped."""


class QueueResumed(Event, tag="queue_resumed", frozen=True):
    """Claiming from the queue resumed."""


class WorkerStarted(Event, tag="worker_started", frozen=True):
    """A worker began to claim jobs."""

    host: str
    pid: int
    slots: int
    queues: tuple[str, ...] = ()
    lock_file: str = ""
    version: str = ""
    log_file: str = ""


class WorkerStopped(Event, tag="worker_stopped", frozen=True):
    """A worker exited normally."""

    jobs: int = 0


class WorkerLost(Event, tag="worker_lost", frozen=True):
    """A worker vanished or fell silent; `noticed_by` saw it."""

    noticed_by: str


class BatchOpened(Event, tag="batch_opened", frozen=True):
    """Jobs were added to a batch: how many, and the template and sources that made them.

    `max_failures`: when more of its jobs are in the dead-letter queue, its pending jobs are cancelled. The newest event
    of the batch says it.
    """

    jobs: int
    template: str = ""
    sources: tuple[str, ...] = ()
    max_failures: int | None = None


class ScheduleSet(Event, tag="schedule_set", frozen=True):
    """A schedule was added or changed: when it adds a job, and the job as it adds it.

    Either `cron` (five fields, in the zone `tz`) or `every` (elapsed time, counted from `start`) says when. `offset` is
    how much later than its slot each job is added, at random below `spread`. In all notes of a schedule `next` is the
    slot that follows, None when there is none.
    """

    job: Enqueued
    cron: str | None = None
    every: int | None = None
    start: int | None = None
    tz: str = "UTC"
    overlap: str = "skip"
    catch_up: str = "latest"
    within: int = 86_400_000_000
    grace: int = 60_000_000
    spread: int = 0
    offset: int = 0
    until: int | None = None
    managed_by: str | None = None
    next: int | None = None


class SchedulePaused(Event, tag="schedule_paused", frozen=True):
    """The schedule adds no more jobs until it is resumed."""


class ScheduleResumed(Event, tag="schedule_resumed", frozen=True):
    """The schedule adds jobs again."""

    next: int | None = None


class ScheduleRemoved(Event, tag="schedule_removed", frozen=True):
    """The schedule is gone; its jobs stay."""


class ScheduleFired(Event, tag="schedule_fired", frozen=True):
    """A slot made a job, `late` after it was due. `manual`: someone asked for it, outside the slots."""

    slot: int
    job: str
    late: int = 0
    manual: bool = False
    next: int | None = None


class ScheduleSkipped(Event, tag="schedule_skipped", frozen=True):
    """`count` slots in a row made no job, all for the same reason; `by` is the job that was in their way."""

    first: int
    last: int
    count: int
    reason: str
    by: str | None = None
    next: int | None = None


EVENT_TYPES: tuple[type[Event], ...] = (
    Enqueued,
    Claimed,
    Completed,
    RetryScheduled,
    DeadLettered,
    Released,
    Cancelled,
    Requeued,
    Purged,
    CancelRequested,
    Amended,
    ResultRejected,
    DependenciesMet,
    SettingChanged,
    QueuePaused,
    QueueResumed,
    WorkerStarted,
    WorkerStopped,
    WorkerLost,
    BatchOpened,
    ScheduleSet,
    SchedulePaused,
    ScheduleResumed,
    ScheduleRemoved,
    ScheduleFired,
    ScheduleSkipped,
)

_NAMES = {event: str(event.__struct_config__.tag) for event in EVENT_TYPES}


def type_of(event: Event | type[Event]) -> str:
    """The event type's name, as the log stores it."""
    return _NAMES[event if isinstance(event, type) else type(event)]


class RecordedEvent(Struct, frozen=True, gc=False):
    """An event in the log, with its position. `recorded_at` is microseconds since the epoch, UTC."""

    position: int
    stream_id: str
    version: int
    recorded_at: int
    actor: str
    event: Event
    schema: int = 1
    digest: bytes = b""

    @property
    def clock(self) -> int:
        """The wall clock when the event was recorded."""
        return self.recorded_at if self.event.clock is None else self.event.clock

    @property
    def type(self) -> str:
        """The event's type name."""
        return type_of(self.event)

    def at(self, **changes: object) -> "RecordedEvent":
        """A copy with other fields."""
        return structs.replace(self, **changes)
