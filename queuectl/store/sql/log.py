"""Reads the log: its end, streams and ranges. Every event is checked.

An event is damaged when its digest does not follow from the stored digest before it. If that earlier event is itself
damaged, the digest that should stand there is tried, so that one bad byte makes one bad event.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job
from queuectl.runtime import Clock, LogClock
from queuectl.store import codec
from queuectl.store.errors import DamagedError, DamagedEventError, NoTextError, Remedies
from queuectl.store.rows import ALL_STREAMS, Head, StoredEvent, StreamRange
from queuectl.store.sql.engine import Engine
from queuectl.store.stream_fold import Examined, folded_job, streams

__all__ = ["PAGE", "Log"]

PAGE = 1000
"""Rows read at once, so that no read transaction stays open for long (on SQLite the -wal would grow)."""

_LAST = "SELECT position, digest, recorded_at FROM events ORDER BY position DESC LIMIT 1"
_TEXTS = ("stream_id", "type", "actor", "data")
_EVENT = ", ".join(f"e.{column}" for column in codec.COLUMNS)
_BYTES = ", ".join(f"CAST(e.{name} AS BLOB)" if name in _TEXTS else f"e.{name}" for name in codec.COLUMNS)
_PREVIOUS = ", (SELECT p.digest FROM events AS p WHERE p.position = e.position - 1)"
_NEXT = "(e.stream_id, e.version) > ({}, ?) AND e.position <= ? ORDER BY e.stream_id, e.version"
_STORED = f"WHERE e.position > ? AND e.position <= ? ORDER BY e.position LIMIT {PAGE}"


class Log:
    """Implements `protocol.Log`. `locked_head` is the head while the writer holds the log's lock, else None."""

    log_id: str
    base: Head

    def __init__(self, engine: Engine, clock: Clock, remedies: Remedies) -> None:
        self._engine, self._remedies = engine, remedies
        self.clock = LogClock(clock)
        self.locked_head: Head | None = None

    def identify(self, meta: Mapping[str, Any]) -> None:
        """Take the log's id and base from the rows of `meta`. Raises DamagedError when one is missing."""
        try:
            self.log_id, self.base = meta["log_id"], Head(meta["base_position"], meta["base_digest"], 0)
        except KeyError as error:
            damage = DamagedError(f"{self._engine.path} is damaged ({error} is missing)")
            damage.remedy = self._remedies.log
            raise damage from error

    def format(self) -> int:
        """The log's format: the lowest one that may hold its events."""
        return int(self._engine.meta()["format"])

    def is_known_quiet(self) -> bool:
        """Whether `meta` says that no job waits for another."""
        return self._engine.meta().get("reactive") in (0, "0")

    # ── the end of the log, and its time ────────────────────────────────────────────────────────────

    def head(self) -> Head:
        """The position and digest of the last event; the base when there is none."""
        with self._engine.threads:
            if self.locked_head is not None:
                return self.locked_head
            found = self._engine.run(_LAST)
            return self._head_of(found[0] if found else None)

    def _head_of(self, last: Sequence[Any] | None) -> Head:
        """The log's end by its last event. Raises DamagedEventError for a digest or a time that is impossible."""
        if last is None:
            return self.base
        position, digest, recorded_at = last
        if not isinstance(digest, bytes) or not isinstance(recorded_at, int):
            raise DamagedEventError(position, "the log", "its digest or its time is missing")
        return Head(position, digest, recorded_at)

    def lock(self, last: Sequence[Any] | None) -> Head:
        """Take over the head that the writer has found under the log's lock."""
        self.locked_head = self._head_of(last)
        return self.locked_head

    def digest_at(self, position: int) -> bytes | None:
        """The digest of the event at a position, or of the base; None when there is no such event."""
        if position == self.base.position:
            return self.base.digest
        found = self._engine.run("SELECT digest FROM events WHERE position = ?", (position,))
        return found[0][0] if found else None

    def now(self) -> int:
        """The log's time: the wall clock, but never before the last event."""
        return self.clock.now(self.head().recorded_at)

    def wall(self) -> int:
        """The wall clock."""
        return self.clock.wall()

    def behind_for(self) -> int | None:
        """For how long the wall clock has been behind the log's last event; None when it is not behind."""
        return self.clock.behind_for(self.head().recorded_at)

    # ── streams ─────────────────────────────────────────────────────────────────────────────────────

    def load(self, job_id: str) -> Job | None:
        """Fold a job's stream, purged or not. Raises DamagedEventError."""
        return folded_job(self.examined(stream_id=job_id))

    def load_all(self, job_ids: Collection[str]) -> dict[str, Job | DamagedEventError | None]:
        """Fold several jobs at once; a damaged one is returned as its error, one that does not exist as None."""
        marks = ", ".join("?" * len(job_ids))
        clause = f"WHERE e.stream_id IN ({marks}) AND e.position <= ? ORDER BY e.stream_id, e.version"
        found = map(self._examine, self._fetch(clause, (*job_ids, self.head().position)))
        return dict.fromkeys(job_ids) | {stream.id: stream.damage or stream.job for stream in streams(found)}

    def version(self, stream_id: str) -> int:
        """The version of the stream's last event, 0 for none."""
        sql = "SELECT coalesce(max(version), 0) FROM events WHERE stream_id = ?"
        return int(self._engine.run(sql, (stream_id,))[0][0])

    def examined(self, *, stream_id: str | None = None, until: int | None = None) -> Iterator[Examined]:
        """Events up to a position, ordered by stream and version; a damaged one is returned as its error."""
        last = self.head().position if until is None else until
        if stream_id is not None:
            clause = "WHERE e.stream_id = ? AND e.position <= ? ORDER BY e.version"
            return map(self._examine, self._fetch(clause, (stream_id, last)))
        return self.examined_streams(ALL_STREAMS, last)

    def newest(self, stream_id: str, limit: int, until: int | None = None) -> list[Examined]:
        """The last events of a stream up to a position, the newest first."""
        last = self.head().position if until is None else until
        clause = f"WHERE e.stream_id = ? AND e.position <= ? ORDER BY e.version DESC LIMIT {limit}"
        return self.examined_where(clause, (stream_id, last))

    def examined_streams(self, streams: StreamRange, last: int) -> Iterator[Examined]:
        """The same for a range of streams."""
        pages = self._pages_of_streams(streams, last)
        return chain.from_iterable(map(self._examine, page) for page in pages)

    def _pages_of_streams(self, streams: StreamRange, last: int) -> Iterator[list[tuple[Any, ...]]]:
        before, end = ("", ()) if streams.end is None else ("e.stream_id < ? AND", (streams.end,))
        where = _NEXT.format(self._engine.dialect.text_of.format("?"))
        clause = f"WHERE {before} {where} LIMIT {PAGE}"
        after: tuple[bytes, int] = (streams.first.encode(), 0)
        while page := self._fetch(clause, (*end, *after, last)):
            yield page
            after = page[-1][1].encode("utf-8", "surrogateescape"), page[-1][2]

    # ── ranges of positions ─────────────────────────────────────────────────────────────────────────

    def records(
        self, *, after: int = 0, until: int | None = None, stream_id: str | None = None
    ) -> Iterator[RecordedEvent]:
        """Events with `after < position <= until`, in order. Raises DamagedEventError at a damaged one."""
        last = self.head().position if until is None else until
        where, extra = ("e.stream_id = ? AND", (stream_id,)) if stream_id is not None else ("", ())
        clause = f"WHERE {where} e.position > ? AND e.position <= ? ORDER BY e.position LIMIT {PAGE // 2}"
        while page := [_sound(self._examine(row)) for row in self._fetch(clause, (*extra, after, last))]:
            yield from page
            after = page[-1].position

    def stored(self, *, after: int = 0, until: int | None = None) -> Iterator[StoredEvent]:
        """Rows with `after < position <= until`, in order and unchecked, so damaged ones too."""
        return chain.from_iterable(self._stored_pages(after, self.head().position if until is None else until))

    def _stored_pages(self, after: int, last: int) -> Iterator[list[StoredEvent]]:
        while after < last and (page := self.stored_page(after, last)):
            yield page
            after = page[-1].position

    def stored_page(self, after: int, until: int) -> list[StoredEvent]:
        """The first 1000 of those rows."""
        return [*map(StoredEvent._make, self._fetch(_STORED, (after, until), previous=""))]

    def timeline(self, after: int, until: int) -> Iterator[tuple[int, int, bytes]]:
        """Position, time and stream id (as bytes) of events, in order and unchecked."""
        columns = f"position, recorded_at, {self._engine.dialect.bytes_of.format('stream_id')}"
        sql = f"SELECT {columns} FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT {PAGE}"
        while page := self._engine.run(sql, (after, until)):
            yield from page
            after = page[-1][0]

    # ── checking ────────────────────────────────────────────────────────────────────────────────────

    def examined_where(self, clause: str, parameters: Sequence[Any]) -> list[Examined]:
        """The events `e` that this SQL clause selects; a damaged one is returned as its error."""
        return list(map(self._examine, self._fetch(clause, parameters)))

    def _fetch(self, clause: str, parameters: Sequence[Any], previous: str = _PREVIOUS) -> list[tuple[Any, ...]]:
        """Rows, each followed by the digest before it; bytes that are not UTF-8 become lone surrogates."""
        try:
            return self._engine.run(f"SELECT {_EVENT}{previous} FROM events AS e {clause}", parameters)
        except NoTextError:
            found = self._engine.run(f"SELECT {_BYTES}{previous} FROM events AS e {clause}", parameters)
            return [tuple(map(_as_text, (*codec.COLUMNS, "previous"), row)) for row in found]

    def _examine(self, found: tuple[Any, ...]) -> Examined:
        if found[-1] is None:
            position, stream_id = found[:2]
            if position != self.base.position + 1:
                return self._with_remedy(DamagedEventError(position, stream_id, "the event before it is missing"))
            found = (*found[:-1], self.base.digest)
        try:
            return codec.decode_columns(*found)
        except DamagedEventError as error:
            return self._examine_again(StoredEvent._make(found[:-1])) or self._with_remedy(error)

    def _with_remedy(self, error: DamagedEventError) -> DamagedEventError:
        """The error with the remedy for this kind of store."""
        error.remedy = self._remedies.advised(error.remedy)
        return error

    def _examine_again(self, row: StoredEvent) -> RecordedEvent | None:
        """The event, if it follows from the digest that the damaged event before it should have."""
        for found in self._fetch("WHERE e.position = ?", (row.position - 1,)):
            try:
                return codec.decode(row, codec.digest_of(StoredEvent._make(found[:-1]), found[-1] or self.base.digest))
            except (DamagedEventError, ValueError):
                return None
        return None


def _sound(found: Examined) -> RecordedEvent:
    if isinstance(found, DamagedEventError):
        raise found
    return found


def _as_text(column: str, value: Any) -> Any:
    if column in _TEXTS and isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value
