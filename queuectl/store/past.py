"""The queue as it was at a position of its log, for reading.

The log is that of the live store up to the position. The tables are in memory, and only the streams that a query needs
are folded into them. The clock stands still at the chosen moment, so ages and waits are as they were then. Workers'
heartbeats are not in the log, so there are no workers. Nothing is written to the live store.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job
from queuectl.store.errors import DamagedEventError
from queuectl.store.options import StoreOptions
from queuectl.store.past_folds import Folds
from queuectl.store.past_tables import PastBatches, PastSchedules, PastTables, PastWaits
from queuectl.store.protocol import History, Log, Store
from queuectl.store.reading_protocols import Unchanged
from queuectl.store.rows import MAX_POSITION, Head, LastMove, RunStep, StoredEvent
from queuectl.store.sql.assembly import OpenStore
from queuectl.store.sql.location import Location
from queuectl.store.sql.upkeep import Upkeep
from queuectl.store.sql.workers import Workers
from queuectl.store.sql.writer import Writer
from queuectl.store.sqlite.connection import MEMORY
from queuectl.store.sqlite.store import open_sqlite
from queuectl.store.stream_fold import Examined, Stream, folded_job, streams

__all__ = ["Past"]


class _StandingClock:
    """Both clocks at one moment."""

    def __init__(self, moment: int) -> None:
        self._moment = moment

    def now(self) -> int:
        return self._moment

    def monotonic(self) -> int:
        return self._moment


class Past(NamedTuple):
    """Implements `protocol.Store` for reading; `moment` (microseconds, UTC) is the time that its clock shows."""

    position: int
    moment: int
    log: "PastLog"
    history: "PastHistory"
    tables: PastTables
    batches: PastBatches
    schedules: PastSchedules
    waits: PastWaits
    writer: Writer
    workers: Workers
    upkeep: Upkeep
    location: Location
    memory: OpenStore

    @classmethod
    def of(cls, store: Store, position: int, moment: int) -> "Past":
        """The store as it was at `position`."""
        memory = open_sqlite(MEMORY, _StandingClock(moment), StoreOptions())
        log = PastLog(store.log, position, moment)
        history = PastHistory(store.history, position)
        folds = Folds(store, position, log, history, memory)
        tables = (PastTables(folds), PastBatches(folds), PastSchedules(folds), PastWaits(folds))
        parts = (memory.writer, memory.workers, memory.upkeep, memory.location)
        return cls(position, moment, log, history, *tables, *parts, memory)

    def close(self) -> None:
        """Drop the tables in memory."""
        self.memory.close()


class PastLog:
    """Implements `protocol.Log`: a log up to a position."""

    def __init__(self, log: Log, position: int, moment: int) -> None:
        self._log, self._position, self._moment = log, position, moment
        self.log_id, self.base = log.log_id, log.base

    def format(self) -> int:
        """The format of the whole log."""
        return self._log.format()

    def head(self) -> Head:
        """The event at the position."""
        row = next(self.stored(after=self._position - 1), None)
        return Head(row.position, row.digest, row.recorded_at) if row else self.base

    def digest_at(self, position: int) -> bytes | None:
        """The digest of the event at a position; None after the end."""
        return self._log.digest_at(position) if position <= self._position else None

    def now(self) -> int:
        """The moment, but not before the last event."""
        return max(self._moment, self.head().recorded_at)

    def wall(self) -> int:
        """The moment."""
        return self._moment

    def behind_for(self) -> int | None:
        """0 when the moment is before the last event, else None."""
        return 0 if self._moment < self.head().recorded_at else None

    def load(self, job_id: str) -> Job | None:
        """Fold a job's stream up to the position. Raises DamagedEventError."""
        return folded_job(self.examined(stream_id=job_id))

    def load_all(self, job_ids: Collection[str]) -> Mapping[str, Job | DamagedEventError | None]:
        """Fold several jobs; a damaged one is returned as its error."""
        return {job_id: stream.damage or stream.job for job_id in job_ids for stream in [self._stream(job_id)]}

    def _stream(self, job_id: str) -> Stream:
        return next(streams(self.examined(stream_id=job_id)), Stream(job_id))

    def version(self, stream_id: str) -> int:
        """The version of the stream's last event, 0 for none."""
        return max((record.version for record in self.records(stream_id=stream_id)), default=0)

    def records(
        self, *, after: int = 0, until: int | None = None, stream_id: str | None = None
    ) -> Iterator[RecordedEvent]:
        """Events with `after < position <= until`, in order. Raises DamagedEventError at a damaged one."""
        return self._log.records(after=after, until=self._bounded(until), stream_id=stream_id)

    def stored(self, *, after: int = 0, until: int | None = None) -> Iterator[StoredEvent]:
        """Rows with `after < position <= until`, in order and unchecked."""
        return self._log.stored(after=after, until=self._bounded(until))

    def examined(self, *, stream_id: str | None = None, until: int | None = None) -> Iterator[Examined]:
        """Events ordered by stream and version; a damaged one is returned as its error."""
        return self._log.examined(stream_id=stream_id, until=self._bounded(until))

    def newest(self, stream_id: str, limit: int, until: int | None = None) -> Sequence[Examined]:
        """The last events of a stream, the newest first."""
        return self._log.newest(stream_id, limit, self._bounded(until))

    def _bounded(self, until: int | None) -> int:
        return self._position if until is None else min(until, self._position)


class PastHistory:
    """Implements `protocol.History`: that of a log up to a position."""

    def __init__(self, history: History, position: int) -> None:
        self._history, self._position = history, position

    def run_steps(self, types: Collection[str], *, after: int, until: int) -> Iterator[RunStep]:
        """Events of these types, in order."""
        return self._history.run_steps(types, after=after, until=self._bounded(until))

    def streams(self, prefix: str, limit: int, until: int | None = None) -> list[str]:
        """Ids of jobs that begin with `prefix` and existed at the position."""
        return self._history.streams(prefix, limit, self._bounded(until))

    def ending(self, suffix: str, limit: int, until: int | None = None) -> list[str]:
        """Ids of jobs that end with `suffix` and existed at the position."""
        return self._history.ending(suffix, limit, self._bounded(until))

    def notes(self, prefix: str, until: int) -> list[Examined]:
        """Events of our own streams whose ids begin with `prefix`."""
        return self._history.notes(prefix, self._bounded(until))

    def last_moves(self, until: int, *, added: bool = False, after: int = 0, end: int = MAX_POSITION) -> list[LastMove]:
        """The last moves of the jobs that have an event between two positions, or that were added there."""
        return self._history.last_moves(self._bounded(until), added=added, after=after, end=end)

    def right_again(self, after: int, now: int, until: int = MAX_POSITION) -> tuple[int, int]:
        """Position and clock of the first event whose clock was not ahead of `now`."""
        return self._history.right_again(after, now, self._bounded(until))

    def unchanged(self, position: int) -> Unchanged:
        """The jobs that no event has changed since a position."""
        return self._history.unchanged(self._bounded(position))

    def _bounded(self, until: int | None) -> int:
        return self._position if until is None else min(until, self._position)
