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

from queuectl.maintenance.sqlite_pages import RawDatabase
from queuectl.store.archive.segments import segments
from queuectl.store.codec import check_follows
from queuectl.store.errors import DamagedEventError
from queuectl.store.ndjson import read_event, read_header
from queuectl.store.rows import GENESIS, Head, StoredEvent

__all__ = ["ARCHIVE", "DATABASE", "ArchiveLines", "Link", "Sources"]

DATABASE, ARCHIVE = "database", "archive"
MAX_GAP = 1000
"""A readable event at most this far after the end of the chain counts as lost. A higher position is taken for damage.
"""

_LOG_ID = re.compile("[0-9a-f]{32}")


class Link(Struct, frozen=True):
    """One event of the recovered chain: where it was found, its position and its digest."""

    source: str
    position: int
    digest: bytes


class ArchiveLines:
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
        """Positions at which something that looks like an event was found."""
        return iter(self._places)

    def rows(self, position: int) -> Iterator[StoredEvent]:
        """Every line that looks like the event at this position."""
        for data, start in self._places.get(position, ()):
            data.seek(start)
            yield read_event(data.readline())


class Sources:
    """Damaged databases, the best first, and an archive. `foreign`: the archive is another log's and is ignored."""

    def __init__(self, databases: Sequence[RawDatabase], lines: ArchiveLines) -> None:
        self._databases, self._diverging = databases, set[int]()
        self.foreign = self._is_of_another_log(lines)
        self._lines = ArchiveLines(None) if self.foreign else lines

    def _is_of_another_log(self, lines: ArchiveLines) -> bool:
        """Whether the archive is another log's: it has another log id and shares no event with the database.

        One of the ids may be damaged, so ids alone do not decide. A database without events matches any archive.
        """
        said = self.meta("log_id")
        if not (isinstance(said, str) and _LOG_ID.fullmatch(said)) or said in lines.log_ids or not lines.log_ids:
            return False
        has_events = False
        for database in self._databases:
            for position in database.positions():
                digests = {row.digest for row in database.rows(position)}
                if any(row.digest in digests for row in lines.rows(position)):
                    return False
                has_events = has_events or bool(digests)
        return has_events

    def meta(self, key: str) -> object:
        """A value of the databases' `meta` table; the first database that has it wins."""
        return next((database.meta[key] for database in self._databases if database.meta.get(key) is not None), None)

    def log_id(self, chain: Sequence[Link]) -> str:
        """The log id of a recovered chain, by majority vote, as digests do not cover it; a new id if no source has one.

        Archive segments vote if they have the chain's first event, or if no database has an id.
        """
        said = self.meta("log_id")
        names = [said] if isinstance(said, str) else []
        if not names or (chain and self._is_archived(chain[0])):
            names += self._lines.log_ids
        votes = Counter(reversed(names) if chain and chain[0].source == ARCHIVE else names)
        likeliest = max(votes, key=lambda name: (bool(_LOG_ID.fullmatch(name)), votes[name]), default="")
        return likeliest or os.urandom(16).hex()

    def _is_archived(self, link: Link) -> bool:
        return any(row.digest == link.digest for row in self._lines.rows(link.position))

    @cached_property
    def base(self) -> Head:
        """The base of the log: the database's recorded base if an event follows it, else 0 if an event follows that.

        The archive does not decide this: its first segments may be lost.
        """
        position, digest, first = self.meta("base_position"), self.meta("base_digest"), Head(0, GENESIS, 0)
        if not isinstance(position, int) or not isinstance(digest, bytes) or len(digest) != len(GENESIS):
            return first
        said = Head(position, digest, 0)
        return said if self._following(said) or not self._following(first) else first

    def rows(self, position: int) -> Iterator[tuple[str, StoredEvent]]:
        """Every version of an event, and where each was found."""
        for database in self._databases:
            yield from ((DATABASE, row) for row in database.rows(position))
        yield from ((ARCHIVE, row) for row in self._lines.rows(position))

    def longest(self, head: Head) -> list[Link]:
        """The longest chain of events that follows `head`."""
        chain: list[Link] = []
        while len(following := self._following(head)) == 1:
            chain += following
            head = _place(following[0])
        branches = [[link, *self.longest(_place(link))] for link in following]
        return chain + max(branches, key=len, default=[])

    def _following(self, head: Head) -> list[Link]:
        """The events whose digests follow from `head`: none, one, or several where two logs diverge."""
        position, found = head.position + 1, dict[bytes, str]()
        rows = list(self.rows(position))
        for source, row in rows:
            if _fits(row, head):
                found.setdefault(row.digest, source)
        if len(found) > 1 or any(row.digest not in found for _, row in rows):
            self._diverging.add(position)
        return [Link(source, position, digest) for digest, source in found.items()]

    def events(self, chain: Iterable[Link]) -> Iterator[StoredEvent]:
        """The rows of a chain. If one version of an event is redacted, that version is used."""
        previous = self.base
        for link in chain:
            rows = [row for _, row in self.rows(link.position) if row.digest == link.digest and _fits(row, previous)]
            yield min(rows, key=lambda row: row.data is not None)
            previous = _place(link)

    def lost(self, chain: Sequence[Link]) -> list[int]:
        """The positions of events that are known to have existed but are not in the chain."""
        digests = {link.digest for link in chain}
        end = chain[-1].position if chain else self.base.position
        sources: list[RawDatabase | ArchiveLines] = [*self._databases, self._lines]
        ahead = {p for source in sources for p in source.positions() if end < p <= end + MAX_GAP}
        other = {
            p for p in self._diverging | ahead if any(self._was_event(row, digests, end) for _, row in self.rows(p))
        }
        return sorted({*other, *range(end + 1, max(other, default=0) + 1)})

    def lost_rows(self, chain: Sequence[Link], lost: Iterable[int]) -> Iterator[StoredEvent]:
        """The rows that may be the events at the positions `lost`, damaged or not."""
        digests = {link.digest for link in chain}
        end = chain[-1].position if chain else self.base.position
        for position in lost:
            for _, row in self.rows(position):
                if row.digest not in digests and (position > end or self._was_event(row, digests, end)):
                    yield row

    def chain_rows(self, chain: Iterable[Link]) -> Iterator[StoredEvent]:
        """The rows of a chain, not checked once more."""
        for link in chain:
            yield next(row for _, row in self.rows(link.position) if row.digest == link.digest)

    def _was_event(self, row: StoredEvent, digests: set[bytes], end: int) -> bool:
        """Whether a row outside the chain was really an event: one of another branch, or one after a gap."""
        if row.digest in digests:
            return False
        if row.position > end:
            return row.data is None or row.data.startswith(f'{{"type":"{row.type}"')
        before = [each.digest for _, each in self.rows(row.position - 1)] or [self.base.digest]
        return any(_fits(row, Head(row.position - 1, digest, 0)) for digest in before)


def _place(link: Link) -> Head:
    return Head(link.position, link.digest, 0)


def _fits(row: StoredEvent, head: Head) -> bool:
    """Whether a row matches its digest and follows from `head`."""
    try:
        check_follows(row, head)
    except (DamagedEventError, UnicodeError):
        return False
    return True
