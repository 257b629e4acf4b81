"""The rows and values that go into a store and come back from it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from queuectl.domain.events import Event
from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.store.projections import CountKey, Row, Values

__all__ = [
    "ALL_STREAMS",
    "FIRST_FORMAT",
    "GENESIS",
    "MAX_POSITION",
    "NEWEST_FORMAT",
    "SHOWN",
    "BatchCount",
    "Change",
    "Count",
    "DeadLetter",
    "Derived",
    "Difference",
    "Differences",
    "Head",
    "HealthFinding",
    "JobFilter",
    "LastMove",
    "RunStep",
    "StoredEvent",
    "StreamRange",
    "WaitRow",
    "Waiting",
    "WorkerRow",
]

GENESIS = bytes(32)
"""The digest before the first event of a new log."""

FIRST_FORMAT = 1
"""The format of a new log."""
NEWEST_FORMAT = 2
"""The newest format of a log that this version reads: see `codec.format_of`."""

MAX_POSITION = (1 << 63) - 1
"""The largest number that a column holds: a position, a version, or a time in microseconds."""


class Change(Struct, frozen=True, gc=False):
    """Events to append to one stream at `version`. `job` is the job before these events (None: no job)."""

    stream_id: str
    version: int
    events: Sequence[Event]
    job: Job | None = None


class Head(Struct, frozen=True, gc=False):
    """The position, digest and time (microseconds) of the log's last event, or of the log's base."""

    position: int
    digest: bytes
    recorded_at: int


class StoredEvent(NamedTuple):
    """A row of `events`."""

    position: int
    stream_id: str
    version: int
    type: str
    schema: int
    recorded_at: int
    actor: str
    data: str | None
    salt: bytes | None
    data_digest: bytes | None
    digest: bytes


class StreamRange(Struct, frozen=True):
    """The streams with `first <= id < end`; `end` None: to the last one."""

    first: str = ""
    end: str | None = None


ALL_STREAMS = StreamRange()


class LastMove(Struct, frozen=True):
    """The last move of a job up to some position, by its type. `position` is that of the job's first event."""

    job_id: str
    queue: str
    move: str
    position: int


class RunStep(Struct, frozen=True):
    """An event that begins or ends a run, unchecked: to be counted, not to decide by. Times are microseconds.

    `spec` is the data of the job's first event. For a claim `before_at`, `before` and `before_type` are the time, the
    data and the type of the event that set when the job is due. `edits` has the data of each
    edit of the job before the event.
    """

    position: int
    job_id: str
    type: str
    recorded_at: int
    data: str | None
    spec: str | None
    before_at: int | None
    before: str | None
    before_type: str | None
    edits: tuple[str | None, ...] = ()


class HealthFinding(Struct, frozen=True):
    """One fact about a server's health; if it is `bad`, it slows the queue down, and `remedy` says what to do."""

    about: str
    bad: bool
    what: str
    remedy: str | None = None


class Count(Struct, frozen=True):
    """How many jobs of a queue are in a state."""

    queue: str
    state: State
    jobs: int


class BatchCount(Struct, frozen=True):
    """How many jobs of a batch are in a state. `number` is that of the first one.

    `first`, `last`: when the first was added, and when the last one changed (UNIX seconds).
    """

    batch: str
    state: State
    jobs: int
    number: int
    first: int
    last: int


class DeadLetter(Struct, frozen=True):
    """A dead job: its signature, and when it was moved to the dead-letter queue (UNIX seconds)."""

    id: str
    signature: str
    moved_at: int
    queue: str
    last_error: str


class JobFilter(Struct, frozen=True):
    """Selects rows of `jobs`. No states, no queues and `limit` 0 mean all of them.

    `since` and `ended_by` are microseconds. `origin` is a kind of origin, or a kind and a name: `schedule:nightly`.
    `signature` selects dead jobs alone. `ids`: no other jobs than these. `text` is a part of the command or of the id,
    in any case; `positions` are those of the first events: from the first one to before the second one. `held`: jobs
    with a dependency that cannot be met; `dependent`: jobs that have dependencies. `unchanged_since`: jobs that do not
    wait for others and have no event after that position.
    `timed`: only jobs that have a due time. `sort` is a key of SORTS, or TURN: the order in which pending jobs start,
    as things stand at `now` (microseconds).
    """

    states: tuple[State, ...] = ()
    failed: bool = False
    queues: tuple[str, ...] = ()
    tags: Mapping[str, str] = {}
    since: int | None = None
    ended_by: int | None = None
    batch: str | None = None
    origin: str | None = None
    signature: str | None = None
    ids: tuple[str, ...] | None = None
    text: str = ""
    positions: tuple[int, int] | None = None
    held: bool = False
    dependent: bool = False
    timed: bool = False
    unchanged_since: int | None = None
    sort: str = "created"
    now: int = 0
    descending: bool = True
    limit: int = 50

    @property
    def is_counted(self) -> bool:
        """Whether the table `counts` knows the number of its jobs: it asks for nothing but states and queues."""
        return self == JobFilter(
            states=self.states,
            queues=self.queues,
            sort=self.sort,
            now=self.now,
            descending=self.descending,
            limit=self.limit,
        )


class WaitRow(NamedTuple):
    """A dependency of a job that waits: its number in the job, from 1, and how it stands.

    See domain/dependencies.py.
    """

    id: str
    number: int
    kind: str
    name: str
    wanted: str
    standing: str
    if_unmet: str


class Waiting(Struct, frozen=True):
    """How many jobs of a queue wait for other jobs, and how many of them are held."""

    queue: str
    jobs: int
    held: int


class WorkerRow(Struct, frozen=True, kw_only=True):
    """A worker's heartbeat. It is liveness, not history: not in the log, and not rebuilt.

    `beat_at` is microseconds on the monotonic clock of that boot, `started_at` and `last_heartbeat` UNIX seconds.
    """

    name: str
    host: str
    boot_id: str
    pid: int
    pid_namespace: int
    pid_started_at: int
    slots: int
    queues: tuple[str, ...]
    started_at: int
    last_heartbeat: int
    beat_at: int
    running: int = 0
    jobs_done: int = 0
    stop_requested: int = 0


SHOWN = 20
"""The number of differences that are described, not only counted."""


class Derived(Struct):
    """Rows that follow from the log and that the tables may not have.

    `rows` is by table. `suspects` are tables and keys (bytes, which may not be text) of live rows that may not follow
    from the log. `notes` are rows that notes set. `format` is the lowest format of a log that may hold the events.
    `events` is how many were folded. `counts`, in the last batch of a range of streams, has the number of its jobs by
    the key of the table `counts`.
    """

    rows: dict[str, list[Values]] = {}
    suspects: list[tuple[str, bytes]] = []
    notes: list[Row] = []
    format: int = FIRST_FORMAT
    events: int = 0
    counts: dict[CountKey, int] = {}

    def is_empty(self) -> bool:
        """Whether nothing has to be written or added up for the batch."""
        found = self.suspects or self.notes or self.counts or any(self.rows.values())
        return self.format == FIRST_FORMAT and not found

    def clear(self) -> None:
        """Begin the next batch."""
        for rows in self.rows.values():
            rows.clear()
        self.suspects.clear()
        self.notes.clear()
        self.events = 0


class Difference(Struct, frozen=True):
    """One wrong row: its table, its key, and how it differs. Without a key the table as a whole is wrong."""

    table: str
    key: str | None
    why: str

    def __str__(self) -> str:
        return f"{self.table}: {self.why}" if self.key is None else f"{self.table} {self.key}: {self.why}"


class Differences(Struct):
    """The number of wrong rows, and the first 20 of them."""

    total: int = 0
    first: list[Difference] = []

    def add(self, difference: Difference) -> None:
        """Count a difference; remember it if it is among the first 20."""
        self.total += 1
        if len(self.first) < SHOWN:
            self.first.append(difference)
