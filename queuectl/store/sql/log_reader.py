"""The log as a store has it, each event checked: what is wrong is said of the event that it is wrong with.

An event is damaged when its digest does not follow from the stored digest before it. Where that one is itself what
is damaged, the digest that ought to stand there is tried: so one bad byte is one bad event.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job
from queuectl.store import codec
from queuectl.store.protocol import DamagedEventError, NoTextError, StoredEvent, advised
from queuectl.store.sql.engine import Lent
from queuectl.store.stream_fold import Found, lives

__all__ = ["ExaminedLog"]

_TEXTS = ("stream_id", "type", "actor", "data")
_EVENT = ", ".join(f"e.{column}" for column in codec.COLUMNS)
_BYTES = ", ".join(f"CAST(e.{name} AS BLOB)" if name in _TEXTS else f"e.{name}" for name in codec.COLUMNS)
_PREVIOUS = ", (SELECT p.digest FROM events AS p WHERE p.position = e.position - 1)"
_NEXT = "(e.stream_id, e.version) > ({}, ?) AND e.position <= ? ORDER BY e.stream_id, e.version"
PAGE = 1000


class ExaminedLog(Lent):
    """The reading of the log."""

    def load(self, job_id: str) -> Job | None:
        """See the protocol."""
        for life in lives(self.examined(stream_id=job_id)):
            if life.damage is not None:
                raise life.damage
            return life.job
        return None

    def load_all(self, job_ids: Collection[str]) -> dict[str, Job | DamagedEventError | None]:
        """See the protocol."""
        marks = ", ".join("?" * len(job_ids))
        clause = f"WHERE e.stream_id IN ({marks}) AND e.position <= ? ORDER BY e.stream_id, e.version"
        found = map(self._examine, self._fetch(clause, (*job_ids, self.head().position)))
        return dict.fromkeys(job_ids) | {life.stream_id: life.damage or life.job for life in lives(found)}

    def records(
        self, *, after: int = 0, until: int | None = None, stream_id: str | None = None
    ) -> Iterator[RecordedEvent]:
        """In pages, so that no read transaction stays open between them (the -wal would grow)."""
        last = self.head().position if until is None else until
        where, extra = ("e.stream_id = ? AND", (stream_id,)) if stream_id is not None else ("", ())
        while True:
            page = self._decoded(
                f"WHERE {where} e.position > ? AND e.position <= ? ORDER BY e.position LIMIT 500", (*extra, after, last)
            )
            if not page:
                return
            yield from page
            after = page[-1].position

    def stored(self, *, after: int = 0, until: int | None = None) -> Iterator[StoredEvent]:
        """See the protocol. In pages, like `records`."""
        last = self.head().position if until is None else until
        clause = f"WHERE e.position > ? AND e.position <= ? ORDER BY e.position LIMIT {PAGE}"
        while after < last and (page := self._fetch(clause, (after, last), previous="")):
            yield from map(StoredEvent._make, page)
            after = page[-1][0]

    def places(self, until: int) -> Iterator[tuple[int, int, bytes]]:
        """See the protocol. In pages, like `records`."""
        columns = f"position, recorded_at, {self._dialect.bytes_of.format('stream_id')}"
        sql = f"SELECT {columns} FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT {PAGE}"
        after = 0
        while page := self._run(sql, (after, until)):
            yield from page
            after = page[-1][0]

    def examined(self, *, stream_id: str | None = None, until: int | None = None) -> Iterator[Found]:
        """See the protocol. All streams in pages, one stream at once."""
        last = self.head().position if until is None else until
        if stream_id is not None:
            clause = "WHERE e.stream_id = ? AND e.position <= ? ORDER BY e.version"
            return map(self._examine, self._fetch(clause, (stream_id, last)))
        return self._all_streams(last)

    def _all_streams(self, last: int) -> Iterator[Found]:
        clause = f"WHERE {_NEXT.format(self._dialect.text_of.format('?'))} LIMIT {PAGE}"
        after: tuple[bytes, int] = (b"", 0)
        while page := self._fetch(clause, (*after, last)):
            yield from map(self._examine, page)
            after = page[-1][1].encode("utf-8", "surrogateescape"), page[-1][2]

    def _decoded(self, clause: str, parameters: Sequence[Any]) -> list[RecordedEvent]:
        """Checked events. Raises DamagedEventError where one is damaged."""
        return [_sound(self._examine(row)) for row in self._fetch(clause, parameters)]

    def _fetch(self, clause: str, parameters: Sequence[Any], previous: str = _PREVIOUS) -> list[tuple[Any, ...]]:
        """Rows, with the digest before each at its end; bytes that are no UTF-8 become lone surrogates."""
        try:
            return self._run(f"SELECT {_EVENT}{previous} FROM events AS e {clause}", parameters)
        except NoTextError:
            found = self._run(f"SELECT {_BYTES}{previous} FROM events AS e {clause}", parameters)
            return [tuple(map(_as_text, (*codec.COLUMNS, "previous"), row)) for row in found]

    def _examine(self, found: tuple[Any, ...]) -> Found:
        row, previous = found[:-1], found[-1]
        if previous is None:
            position, stream_id = row[:2]
            if position != self._base.position + 1:
                return self._with_remedy(DamagedEventError(position, stream_id, "the event before it is missing"))
            previous = self._base.digest
        try:
            return codec.decode(row, previous)
        except DamagedEventError as error:
            return self._examine_again(StoredEvent._make(row)) or self._with_remedy(error)

    def _with_remedy(self, error: DamagedEventError) -> DamagedEventError:
        """The error with the remedy for this kind of store."""
        error.remedy = advised(error.remedy, self.spans_hosts)
        return error

    def _examine_again(self, row: StoredEvent) -> RecordedEvent | None:
        """The event, should it follow on the digest that ought to stand before it."""
        for found in self._fetch("WHERE e.position = ?", (row.position - 1,)):
            try:
                return codec.decode(row, codec.digest_of(StoredEvent._make(found[:-1]), found[-1] or self._base.digest))
            except (DamagedEventError, ValueError):
                return None
        return None


def _sound(found: Found) -> RecordedEvent:
    if isinstance(found, DamagedEventError):
        raise found
    return found


def _as_text(column: str, value: Any) -> Any:
    if column in _TEXTS and isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value
