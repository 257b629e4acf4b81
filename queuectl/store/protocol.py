"""What a store is: the protocol that SQLite and PostgreSQL fulfil, and the rows that come back from it.

Whoever writes takes the log's lock first, then reads the head and appends: positions have no gaps and stand
in commit order. `append` outside `transaction` takes the lock for itself.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job
from queuectl.domain.names import PAUSE_ALL, SETTINGS_STREAM, is_id, is_stream, queue_stream, worker_stream
from queuectl.errors import StoreError, runnable
from queuectl.store.rows import Change, Count, Head, JobFilter, Sign, Standing, StoredEvent, WorkerRow
from queuectl.store.table_diff import Differences

if TYPE_CHECKING:
    from queuectl.store.archive.archive import Archive

__all__ = [
    "GENESIS",
    "MAX_POSITION",
    "PAUSE_ALL",
    "RECOVER",
    "RESTORE",
    "SETTINGS_STREAM",
    "WAKING",
    "Change",
    "Count",
    "DamagedError",
    "DamagedEventError",
    "Head",
    "Hints",
    "Inspect",
    "JobFilter",
    "Location",
    "Log",
    "NoTextError",
    "RecordedEvent",
    "Sign",
    "Standing",
    "Store",
    "StoredEvent",
    "Tables",
    "Upkeep",
    "VersionConflictError",
    "WorkerRow",
    "Workers",
    "Writer",
    "advised",
    "is_id",
    "is_stream",
    "queue_stream",
    "worker_stream",
]

GENESIS = bytes(32)
MAX_POSITION = (1 << 63) - 1
"""What the stores' columns hold; of times (microseconds) and versions too."""

WAKING = frozenset({"enqueued", "released", "requeued", "cancel_requested", "queue_resumed", "setting_changed"})
"""The event types that give an idle worker something to do."""

RECOVER = "queuectl recover"
RESTORE = "restore a backup of the server, or import what an archive holds into a new schema (docs/postgres.md)"
"""The remedies of a damaged log: in a file, and on a server."""

NEW_ARCHIVE = "move this machine's archive away (docs/postgres.md): the next change writes a new one"
"""The remedy of a server's archive."""


class VersionConflictError(Exception):
    """The stream, or the unique key, has moved on since it was read: load and decide again."""


class DamagedError(StoreError):
    """The log, or what keeps it, is damaged. `remedy` is what to do: a command, or a sentence where there is none."""

    remedy = RECOVER

    def __str__(self) -> str:
        return self._with(runnable(self.remedy))

    @property
    def for_tables(self) -> str:
        """The message as a row stores it: without the process's own way of naming its queue."""
        return self._with(self.remedy)

    def _with(self, remedy: str) -> str:
        advice = f"run `{remedy}`" if remedy.startswith("queuectl ") else remedy
        return f"{super().__str__()}: {advice}"


class DamagedEventError(DamagedError):
    """An event's digest or data is damaged."""

    def __init__(self, position: int, stream_id: str, why: str) -> None:
        super().__init__(f"event {position} of {stream_id} is damaged ({why})")
        self.position, self.stream_id, self.why = position, stream_id, why


Inspect: TypeAlias = Callable[[Any, RecordedEvent | DamagedEventError], None]  # (the stream's life before it, it)


class NoTextError(StoreError):
    """A table holds bytes that are no text: run `queuectl rebuild`."""


class Hints(Protocol):
    """Word from writers elsewhere that there may be something to do. Only hints: some never come."""

    def descriptor(self) -> int | None:
        """What turns readable with the next one, for now; None while none can come."""

    def heard(self) -> bool:
        """Whether there was one since this was last asked."""


class Log(Protocol):
    """Reads the events: whole streams, ranges of positions, and the log's end."""

    @property
    def log_id(self) -> str:
        """What tells this log from every other."""

    @property
    def base(self) -> Head:
        """Where the log begins: the place and digest before its first event."""

    def head(self) -> Head:
        """The last event's place and digest."""

    def digest_at(self, position: int) -> bytes | None:
        """The digest of an event, or of what the first one follows on; None when there is no such event."""

    def now(self) -> int:
        """The log's time: the wall clock, but never before the last event. Take it under the lock."""

    def wall(self) -> int:
        """The wall clock; on a server the server's. Due times are compared with it."""

    def behind_for(self) -> int | None:
        """How long the wall clock has been seen to be behind the log's last event; None when it is not."""

    def load(self, job_id: str) -> Job | None:
        """Fold a job's stream, purged or not. Raises DamagedEventError."""

    def load_all(self, job_ids: Collection[str]) -> Mapping[str, Job | DamagedEventError | None]:
        """The same for several at once; of a damaged one, what is wrong with it."""

    def version(self, stream_id: str) -> int:
        """The version of the stream's last event, 0 for none."""

    def records(
        self, *, after: int = 0, until: int | None = None, stream_id: str | None = None
    ) -> Iterator[RecordedEvent]:
        """Events with `after < position <= until`, in order. Raises DamagedEventError where one is met."""

    def examined(
        self, *, stream_id: str | None = None, until: int | None = None
    ) -> Iterator[RecordedEvent | DamagedEventError]:
        """Events up to a position by stream and version; in the place of a damaged one stands what is wrong with it."""

    def stored(self, *, after: int = 0, until: int | None = None) -> Iterator[StoredEvent]:
        """Rows of the log with `after < position <= until`, in order, as they are: unchecked, and damaged ones too."""

    def streams(self, prefix: str, limit: int, until: int | None = None) -> list[str]:
        """Ids of jobs, purged ones too, that begin with `prefix` and were there at position `until` (None: now)."""

    def notes(self, prefix: str, until: int) -> list[RecordedEvent | DamagedEventError]:
        """Events up to a position of our own streams (`$…`) that begin with `prefix`, in order; else as `examined`."""

    def standing(self, until: int) -> list[Standing]:
        """Where every job stood at a position, in the order of their enqueueing, purged ones too. Unchecked."""


class Writer(Protocol):
    """Changes the log and the tables together, each change in one transaction."""

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[None]:
        """Hold the log's lock. `durable=False` (claims alone) does not wait for the disk."""

    def append(self, changes: Sequence[Change], actor: str) -> list[Job | None]:
        """Append all changes or none; the jobs that result, in order. Raises VersionConflictError."""

    def append_stored(self, rows: Iterable[StoredEvent]) -> None:
        """Append rows of another store of this log as they are, and carry them into the tables: 1000 a transaction.

        Raises DamagedEventError for a row that does not follow on the head, VersionConflictError for a taken version.
        """

    def adopt(self, log_id: str, base: Head) -> None:
        """Become the store of another log, of which no event is here yet. Only in an open transaction."""

    def move_to(self, place: str) -> None:
        """Refuse further changes and record where the log continues. Only in an open transaction."""

    def take_long(self) -> None:
        """Keep the open transaction although nothing may be asked in it for long."""

    def on_disk(self) -> int:
        """The last position known to be on disk: a claim alone may not be, all that stands before another event is."""

    def bring_to_disk(self) -> int:
        """See to it that claims at the log's end are on disk too, if that can be done; what `on_disk` says then."""


class Tables(Protocol):
    """Reads the tables that are derived from the log."""

    def holder(self, unique: str) -> str | None:
        """The live job that holds a unique key."""

    def claimable(
        self,
        queues: Collection[str],
        limit: int,
        now: int,
        skip: Collection[str] = (),
        behind_for: int | None = None,
    ) -> list[str]:
        """Ids of jobs to claim next, in claiming order; no queues means all of them.

        `now` is the wall clock; for `behind_for` see `is_due` in domain/job.py.
        """

    def next_due(self, queues: Collection[str], now: int = 0, behind_for: int | None = None) -> int | None:
        """The earliest moment at which a pending job of the queues that are not paused is due; see `claimable`."""

    def job(self, job_id: str) -> dict[str, Any] | None:
        """One row of `jobs`."""

    def jobs(self, wanted: JobFilter) -> list[dict[str, Any]]:
        """Rows of `jobs`."""

    def ids(self, wanted: JobFilter) -> list[str]:
        """Their ids alone: of a million jobs, too."""

    def dlq(self, job_id: str | None = None) -> list[dict[str, Any]]:
        """Rows of `dlq`, the oldest first."""

    def counts(self) -> list[Count]:
        """Jobs per queue and state, without a scan."""

    def settings(self) -> dict[str, str]:
        """What `config set` left."""

    def pauses(self) -> dict[str, dict[str, Any]]:
        """Paused queues by name, `PAUSE_ALL` among them: since when (UNIX seconds) and by whom."""

    def oldest_due(self, now: int) -> dict[str, Any] | None:
        """The row of the pending job that has been due the longest, also in a paused queue; None: none is due."""

    def processing(self) -> list[tuple[str, int]]:
        """(id, run) of every job that some worker holds."""


class Workers(Protocol):
    """The workers' rows and heartbeats, and how a worker hears that there is something to do."""

    def beat(self, worker: WorkerRow) -> bool:
        """Write a worker's heartbeat. Returns False and writes nothing when another process has its name."""

    def asked(self, worker: str) -> tuple[int, list[str]]:
        """What others want of a worker: how often it was asked to stop, and which of its jobs to cancel."""

    def rows(self) -> list[WorkerRow]:
        """Every worker that has not been forgotten."""

    def forget(self, worker: WorkerRow) -> bool:
        """Drop a worker's row; False when there is none, or another process has its name by now."""

    def ask_to_stop(self, worker: str, level: int = 1) -> bool:
        """Ask a worker to stop: 1 once it has finished its jobs, 2 at once. False when there is no such worker."""

    def hints(self) -> Hints | None:
        """Hear of writers that cannot touch the wake file; None: there are none such."""

    def changed(self) -> bool:
        """Whether another process has written since this was last asked."""


class Upkeep(Protocol):
    """Checks, repairs and copies what is stored."""

    def flaws(self) -> list[str]:
        """What the database engine itself finds wrong with its files; nothing when they are sound."""

    def signs(self) -> Iterable[Sign]:
        """How the engine itself fares, where there is more to it than files."""

    def compare(self, inspect: Inspect | None = None) -> Differences:
        """Where the tables, at one moment, are not what the log makes them; `inspect` sees every event."""

    def rebuild(self, inspect: Inspect | None = None) -> Differences:
        """Derive the tables again and correct the rows that differ, while others keep working."""

    def hold(self, job_id: str) -> None:
        """Make a job unclaimable, because its stream is damaged, and say so in its row."""

    def copy_to(self, path: str) -> None:
        """Write a consistent copy to a new file, while others keep working."""

    def places(self, until: int) -> Iterator[tuple[int, int, bytes]]:
        """Position, time and stream (UTF-8, if it is text) of every event up to a position, in order: unchecked."""


class Location(Protocol):
    """The files that belong to the queue, and where its log is."""

    spans_hosts: bool
    """Whether workers on other machines share it: then a claim is worth no more than its lease."""

    @property
    def output_folder(self) -> str:
        """Where the jobs' output files are."""

    @property
    def wake_file(self) -> str:
        """The file that is touched when there is something to do for an idle worker."""

    @property
    def archive(self) -> "Archive | None":
        """The log's copy outside the database, for reading; None when there is to be none."""

    @property
    def moved_to(self) -> str | None:
        """Where the log continues after a migration (this store is read-only then), or None."""


class Store(Protocol):
    """An append-only event log and the tables derived from it, by what one wants of them."""

    @property
    def log(self) -> Log:
        """Reads the events: whole streams, ranges of positions, and the log's end."""

    @property
    def writer(self) -> Writer:
        """Changes the log and the tables together, each change in one transaction."""

    @property
    def tables(self) -> Tables:
        """Reads the tables that are derived from the log."""

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
        """Give the store back."""


def advised(remedy: str, spans_hosts: bool, about: str = "") -> str:
    """What to do where a store is: `recover` is for files."""
    if remedy != RECOVER or not spans_hosts:
        return remedy
    return NEW_ARCHIVE if about == "archive" else RESTORE
