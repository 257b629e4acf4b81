"""The store's protocol: ten parts that SQLite and PostgreSQL implement alike.

A writer takes the log's lock first, then reads the head and appends: positions have no gaps and follow the order of
the commits. `append` outside `transaction` takes the lock itself.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job
from queuectl.runtime import Reach
from queuectl.store.errors import DamagedEventError, Remedies
from queuectl.store.reading_protocols import Batches, History, Schedules, Waits
from queuectl.store.rows import (
    Change,
    Count,
    DeadLetter,
    Derived,
    Differences,
    Head,
    HealthFinding,
    JobFilter,
    StoredEvent,
    StreamRange,
    WorkerRow,
)

__all__ = [
    "ArchiveReader",
    "Batches",
    "Derive",
    "Derived",
    "Hints",
    "History",
    "Inspect",
    "Location",
    "Log",
    "Schedules",
    "Store",
    "StreamRange",
    "Tables",
    "Upkeep",
    "Waits",
    "Workers",
    "Writer",
]

Derive: TypeAlias = Callable[[int, Collection[str]], Iterable[Derived]]
"""Calls `Upkeep.derived` for all streams, perhaps in other processes: up to a position, with these unsound tables."""

Inspect: TypeAlias = Callable[[Any, RecordedEvent | DamagedEventError], None]
"""Receives each event that is folded, after the state of its stream before that event (`stream_fold.Stream`)."""


class Hints(Protocol):
    """Notifications from writers on other hosts that there may be something to do. Some never arrive."""

    def descriptor(self) -> int | None:
        """The file descriptor that becomes readable with the next hint; None while none can arrive."""

    def heard(self) -> bool:
        """Whether a hint has arrived since the last call."""


class Log(Protocol):
    """Reads the events: whole streams, ranges of positions, and the log's end."""

    @property
    def log_id(self) -> str:
        """The id that distinguishes this log from every other."""

    @property
    def base(self) -> Head:
        """The position and digest before the log's first event."""

    def format(self) -> int:
        """The log's format: the lowest one that may hold its events."""

    def head(self) -> Head:
        """The position and digest of the last event; the base when there is none."""

    def digest_at(self, position: int) -> bytes | None:
        """The digest of the event at a position, or of the base; None when there is no such event."""

    def now(self) -> int:
        """The log's time in microseconds: the wall clock, but never before the last event. Read it under the lock."""

    def wall(self) -> int:
        """The wall clock in microseconds, on a server that of the server. Due times are compared with it."""

    def behind_for(self) -> int | None:
        """For how many microseconds the wall clock has been behind the log's last event; None when it is not behind."""

    def load(self, job_id: str) -> Job | None:
        """Fold a job's stream, purged or not. Raises DamagedEventError."""

    def load_all(self, job_ids: Collection[str]) -> Mapping[str, Job | DamagedEventError | None]:
        """Fold several jobs at once; a damaged one is returned as its error, one that does not exist as None."""

    def version(self, stream_id: str) -> int:
        """The version of the stream's last event, 0 for none."""

    def records(
        self, *, after: int = 0, until: int | None = None, stream_id: str | None = None
    ) -> Iterator[RecordedEvent]:
        """Events with `after < position <= until`, in order.

        Raises DamagedEventError for a damaged one, perhaps before the last events before it have been returned.
        """

    def examined(
        self, *, stream_id: str | None = None, until: int | None = None
    ) -> Iterator[RecordedEvent | DamagedEventError]:
        """Events up to a position, ordered by stream and version; a damaged one is returned as its error."""

    def newest(
        self, stream_id: str, limit: int, until: int | None = None
    ) -> Sequence[RecordedEvent | DamagedEventError]:
        """The last events of a stream up to a position, the newest first."""

    def stored(self, *, after: int = 0, until: int | None = None) -> Iterator[StoredEvent]:
        """Rows of the log with `after < position <= until`, in order and unchecked, so damaged ones too."""


class Writer(Protocol):
    """Changes the log and the tables together, each change in one transaction."""

    @property
    def durability(self) -> str:
        """How a commit is protected: `safe`, `paranoid` (the archive is synced too) or `fast` (not synced at all)."""

    def transaction(
        self, *, durable: bool = True, meanwhile: Callable[[], None] | None = None
    ) -> AbstractContextManager[None]:
        """Hold the log's lock. `durable=False` (for claims only) does not wait for the disk.

        `meanwhile` may be called, again and again, while the commit waits for the disk. It must not use the store.
        """

    def append(self, changes: Sequence[Change], actor: str) -> list[Job | None]:
        """Append all changes or none; the jobs that result, in order. Raises VersionConflictError."""

    def append_stored(self, rows: Iterable[StoredEvent]) -> None:
        """Append rows of another store of this log unchanged and update the tables, 1000 rows a transaction.

        Raises DamagedEventError for a row that does not follow on the head, VersionConflictError for a taken version.
        """

    def adopt(self, log_id: str, base: Head) -> None:
        """Make this empty store the store of another log. Only in an open transaction."""

    def move_to(self, place: str) -> None:
        """Refuse further changes and record where the log continues. Only in an open transaction."""

    def release(self, actor: str) -> int:
        """Free the jobs whose dependencies are all met: the end of a log may have been lost. Returns how many."""

    def take_long(self) -> None:
        """Keep the open transaction alive, although no statement may run in it for long."""

    def on_disk(self) -> int:
        """The last position known to be on disk: that of the last event that is not a claim, or a later one."""

    def bring_to_disk(self) -> int:
        """Sync claims at the log's end too, if possible; returns what `on_disk` then returns."""

    def copy(self, until: int) -> None:
        """Copy the events up to `until`, which are on disk, to the archive.

        A failed copy is reported once, and the next copy includes its events. In `paranoid` it raises StoreError.
        """


class Tables(Protocol):
    """Reads the tables that are derived from the log: jobs, dead jobs, counts, settings, pauses."""

    def holder(self, unique: str) -> str | None:
        """The live job that holds a unique key."""

    def claimable(
        self, queues: Collection[str], limit: int, now: int, skip: Collection[str] = (), behind_for: int | None = None
    ) -> list[str]:
        """Ids of jobs to claim next, in claiming order; no queues means all of them.

        `now` is the wall clock in microseconds; for `behind_for` see `is_due` in domain/job.py.
        """

    def next_due(self, queues: Collection[str], now: int = 0, behind_for: int | None = None) -> int | None:
        """The earliest time at which a pending job is due in these queues, paused ones excepted; see `claimable`."""

    def waited(self, job: Job | Exception | None, now: int, behind_for: int | None) -> int | None:
        """`behind_for` of `is_due` for a job: for how long it has waited, if its wait was recorded by a clock ahead."""

    def job(self, job_id: str) -> dict[str, Any] | None:
        """One row of `jobs`."""

    def jobs(self, wanted: JobFilter) -> list[dict[str, Any]]:
        """Rows of `jobs`."""

    def ids(self, wanted: JobFilter) -> list[str]:
        """Only the ids of those rows: cheap for a million jobs."""

    def dlq(self, job_id: str | None = None) -> list[dict[str, Any]]:
        """Rows of `dlq`, the oldest first."""

    def dead(self, queues: Collection[str], since: int) -> list[DeadLetter]:
        """The dead jobs of these queues (none: all), moved at or after `since` (UNIX seconds), oldest first."""

    def counts(self, wanted: JobFilter | None = None) -> list[Count]:
        """Jobs per queue and state, without a scan; with a filter those that it selects, whatever its limit."""

    def settings(self) -> dict[str, str]:
        """The values of `config set`, by key."""

    def pauses(self) -> dict[str, dict[str, Any]]:
        """Paused queues by name (`PAUSE_ALL`: all queues), with `paused_at` (UNIX seconds) and `paused_by`."""

    def oldest_due(self, now: int) -> dict[str, Any] | None:
        """The row of the pending job that has been due the longest, also in a paused queue; None if none is due."""

    def oldest_due_by_queue(self) -> dict[str, int]:
        """The earliest due time (microseconds) of the pending jobs of each queue, also of paused queues."""

    def processing(self) -> list[tuple[str, int]]:
        """(id, run) of every job that a worker has claimed."""


class Workers(Protocol):
    """The workers' rows and heartbeats, and how a worker learns that there is something to do."""

    def beat(self, worker: WorkerRow) -> bool:
        """Write a worker's heartbeat. Returns False and writes nothing when another process has its name."""

    def asked(self, worker: str) -> tuple[int, list[str]]:
        """The requests to a worker: its stop level (0: none), and the ids of its jobs that are to be cancelled."""

    def rows(self) -> list[WorkerRow]:
        """Every worker's row."""

    def forget(self, worker: WorkerRow) -> bool:
        """Delete a worker's row; False when there is none, or when another process has its name now."""

    def ask_to_stop(self, worker: str, level: int = 1) -> bool:
        """Ask a worker to stop: 1 once it has finished its jobs, 2 at once. False when there is no such worker."""

    def hints(self) -> Hints | None:
        """Listen to writers that cannot touch the wake file; None if there can be none."""

    def changed(self) -> bool:
        """Whether another process has written since the last call."""


class Upkeep(Protocol):
    """Checks, repairs and copies what is stored."""

    def damage(self) -> list[str]:
        """The damage that the database engine finds in its own files; empty when they are sound."""

    def health(self) -> Iterable[HealthFinding]:
        """Findings on the health of a server, from its own statistics; none for a file."""

    def derived(
        self, streams: StreamRange, until: int, unsound: Collection[str] = (), inspect: Inspect | None = None
    ) -> Iterator[Derived]:
        """Fold a range of streams; yields what the tables may not have. `inspect` receives every event.

        The rows of `unsound` tables are not read. A batch is valid until the next one is asked for.
        """

    def compare(self, derive: Derive | None = None) -> Differences:
        """Compare the tables with the log at one moment; without `derive` this process folds all streams."""

    def rebuild(self, derive: Derive | None = None) -> Differences:
        """Derive the tables again and correct the rows that differ, while other processes keep working."""

    def quarantine(self, job_id: str) -> None:
        """Make a job unclaimable because its stream is damaged, and write the damage into its row."""

    def copy_to(self, path: str) -> None:
        """Write a consistent copy of the queue to a new file, while other processes keep working."""

    def timeline(self, *, after: int = 0, until: int) -> Iterator[tuple[int, int, bytes]]:
        """Position, time and stream id (as bytes) of events, in order and unchecked."""


class ArchiveReader(Protocol):
    """An archive, for reading."""

    folder: str

    def end(self) -> Head | None:
        """The last whole event of the archive; None when it has none. Raises ArchiveError and OSError."""

    def events(self, after: int, until: int) -> Iterator[StoredEvent]:
        """The events with `after < position <= until`, unchecked. Raises ArchiveError at a line that is not one."""


class Location(Protocol):
    """The files that belong to the queue, and where its log continues."""

    @property
    def reach(self) -> Reach:
        """The hosts whose workers share the queue, which decides who may be judged dead from here."""

    @property
    def remedies(self) -> Remedies:
        """The remedies for damage to this kind of store."""

    @property
    def output_folder(self) -> str:
        """The folder of the jobs' output files."""

    @property
    def wake_file(self) -> str:
        """The file that a writer touches when there is something to do for an idle worker."""

    @property
    def archive(self) -> "ArchiveReader | None":
        """The log's copy outside the database; None when the queue has no archive."""

    @property
    def moved_to(self) -> str | None:
        """The place where the log continues after a migration (this store is then read-only), or None."""


class Store(Protocol):
    """An append-only event log and the tables that are derived from it, in ten parts."""

    @property
    def log(self) -> Log:
        """Reads the events: whole streams, ranges of positions, and the log's end."""

    @property
    def history(self) -> History:
        """Answers questions about the whole log: runs, ids of jobs, notes, and the last move of each job."""

    @property
    def writer(self) -> Writer:
        """Changes the log and the tables together, each change in one transaction."""

    @property
    def tables(self) -> Tables:
        """Reads the tables that are derived from the log: jobs, dead jobs, counts, settings, pauses."""

    @property
    def batches(self) -> Batches:
        """Reads the batches of jobs."""

    @property
    def schedules(self) -> Schedules:
        """Reads the table of schedules."""

    @property
    def waits(self) -> Waits:
        """Reads the dependencies of the jobs that wait for others."""

    @property
    def workers(self) -> Workers:
        """The workers' rows and heartbeats, and how a worker hears that there is something to do."""

    @property
    def upkeep(self) -> Upkeep:
        """Checks, repairs and copies what is stored."""

    @property
    def location(self) -> Location:
        """The files that belong to the queue, and where its log is."""

    def close(self) -> None:
        """Close the store. A second call does nothing."""
