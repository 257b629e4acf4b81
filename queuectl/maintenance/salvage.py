"""Finds the longest valid log in the remains of a damaged queue.

It reads events from the database's bytes and from the archive's lines, and accepts only those whose digests match.
"""

import mmap
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property

from msgspec import Struct

from queuectl.maintenance.sqlite_pages import Carved
from queuectl.store.archive.segments import segments
from queuectl.store.codec import check_follows
from queuectl.store.ndjson import read_event, read_header
from queuectl.store.protocol import GENESIS, DamagedEventError, Head, StoredEvent

__all__ = ["ARCHIVE", "DATABASE", "Lines", "Piece", "Remains"]

DATABASE, ARCHIVE = "database", "archive"
BEYOND = 1000
"""So far behind the last event that can be read another one may stand, and its position still be believed."""

_LOG_ID = re.compile("[0-9a-f]{32}")


class Piece(Struct, frozen=True):
    """An event of the log that was made of the remains: where it was found, its position and its digest."""

    source: str
    position: int
    digest: bytes


class Lines:
    """The events of an archive by position; unreadable lines are skipped."""

    def __init__(self, folder: str | None) -> None:
        self.log_ids: list[str] = []
        self._places: dict[int, list[tuple[mmap.mmap, int]]] = {}
        for path in segments(folder) if folder else ():
            if os.path.getsize(path):
                with open(path, "rb") as file:
                    self._read(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def _read(self, data: mmap.mmap) -> None:
        start = 0
        while line := data.readline():
            with suppress(ValueError):
                if start:
                    self._places.setdefault(read_event(line).position, []).append((data, start))
                else:
                    self.log_ids.append(read_header(line).log_id)
            start += len(line)

    def positions(self) -> Iterator[int]:
        """Where events seem to be."""
        return iter(self._places)

    def rows(self, position: int) -> Iterator[StoredEvent]:
        """What seems to be the event there."""
        for data, start in self._places.get(position, ()):
            data.seek(start)
            yield read_event(data.readline())


class Remains:
    """Databases, the likeliest one first, and an archive; `foreign`: it is another log's, and is left out."""

    def __init__(self, carved: Sequence[Carved], lines: Lines) -> None:
        self._carved, self._beside = carved, set[int]()
        self.foreign = self._is_of_another_log(lines)
        self._lines = Lines(None) if self.foreign else lines

    def _is_of_another_log(self, lines: Lines) -> bool:
        """Whether an archive has nothing to do with the database: it names another log, and shares no event with it.

        Either name may be what is damaged. A database that has no events left may be that of any archive.
        """
        said = self.meta("log_id")
        if not (isinstance(said, str) and _LOG_ID.fullmatch(said)) or said in lines.log_ids or not lines.log_ids:
            return False
        has_events = False
        for carved in self._carved:
            for position in carved.positions():
                digests = {row.digest for row in carved.rows(position)}
                if any(row.digest in digests for row in lines.rows(position)):
                    return False
                has_events = has_events or bool(digests)
        return has_events

    def meta(self, key: str) -> object:
        """What the databases say of themselves."""
        return next((carved.meta[key] for carved in self._carved if carved.meta.get(key) is not None), None)

    def log_id(self, chain: Sequence[Piece]) -> str:
        """The log id of a recovered chain, by majority vote, as digests do not cover it; a new id if no source has one.

        Segments have a say where the chain begins among them, or where nobody else has.
        """
        said = self.meta("log_id")
        names = [said] if isinstance(said, str) else []
        if not names or (chain and self._is_archived(chain[0])):
            names += self._lines.log_ids
        votes = Counter(reversed(names) if chain and chain[0].source == ARCHIVE else names)
        likeliest = max(votes, key=lambda name: (bool(_LOG_ID.fullmatch(name)), votes[name]), default="")
        return likeliest or os.urandom(16).hex()

    def _is_archived(self, piece: Piece) -> bool:
        return any(row.digest == piece.digest for row in self._lines.rows(piece.position))

    @cached_property
    def base(self) -> Head:
        """Where the log begins: where the database says, or at 1 if that can be and what it says cannot.

        The archive is not asked: its first segments may be what is lost.
        """
        position, digest, first = self.meta("base_position"), self.meta("base_digest"), Head(0, GENESIS, 0)
        if not isinstance(position, int) or not isinstance(digest, bytes) or len(digest) != len(GENESIS):
            return first
        said = Head(position, digest, 0)
        return said if self._following(said) or not self._following(first) else first

    def rows(self, position: int) -> Iterator[tuple[str, StoredEvent]]:
        """Every version of an event, with where it was found."""
        for carved in self._carved:
            yield from ((DATABASE, row) for row in carved.rows(position))
        yield from ((ARCHIVE, row) for row in self._lines.rows(position))

    def longest(self, head: Head) -> list[Piece]:
        """The longest chain of events that follows on `head`."""
        chain: list[Piece] = []
        while len(following := self._following(head)) == 1:
            chain += following
            head = _place(following[0])
        branches = [[piece, *self.longest(_place(piece))] for piece in following]
        return chain + max(branches, key=len, default=[])

    def _following(self, head: Head) -> list[Piece]:
        """The events whose digests follow on `head`: one, or none, or several where two logs part."""
        position, found = head.position + 1, dict[bytes, str]()
        rows = list(self.rows(position))
        for source, row in rows:
            if _fits(row, head):
                found.setdefault(row.digest, source)
        if len(found) > 1 or any(row.digest not in found for _, row in rows):
            self._beside.add(position)
        return [Piece(source, position, digest) for digest, source in found.items()]

    def events(self, chain: Iterable[Piece]) -> Iterator[StoredEvent]:
        """The rows of a chain. One that was redacted stays so."""
        previous = self.base
        for piece in chain:
            rows = [row for _, row in self.rows(piece.position) if row.digest == piece.digest and _fits(row, previous)]
            yield min(rows, key=lambda row: row.data is not None)
            previous = _place(piece)

    def lost(self, chain: Sequence[Piece]) -> list[int]:
        """The positions of events that are known to have been there and are not in the chain."""
        digests = {piece.digest for piece in chain}
        end = chain[-1].position if chain else self.base.position
        sources: list[Carved | Lines] = [*self._carved, self._lines]
        ahead = {p for source in sources for p in source.positions() if end < p <= end + BEYOND}
        other = {p for p in self._beside | ahead if any(self._was_there(row, digests, end) for _, row in self.rows(p))}
        return sorted({*other, *range(end + 1, max(other, default=0) + 1)})

    def _was_there(self, row: StoredEvent, digests: set[bytes], end: int) -> bool:
        """Whether a row that is not in the chain is an event: of another branch, or one behind a gap."""
        if row.digest in digests:
            return False
        if row.position > end:
            return row.data is None or row.data.startswith(f'{{"type":"{row.type}"')
        before = [each.digest for _, each in self.rows(row.position - 1)] or [self.base.digest]
        return any(_fits(row, Head(row.position - 1, digest, 0)) for digest in before)


def _place(piece: Piece) -> Head:
    return Head(piece.position, piece.digest, 0)


def _fits(row: StoredEvent, head: Head) -> bool:
    """Whether a row is the event that its digest says, and follows on `head`."""
    try:
        check_follows(row, head)
    except (DamagedEventError, UnicodeError):
        return False
    return True
