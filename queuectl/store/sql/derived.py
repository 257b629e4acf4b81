"""Folds streams and compares the rows that follow from them with the live ones. Equal rows need nothing more.

The others are only suspects: a live row may be newer than the events folded. So they are judged later, at one moment.
Nothing is written here, so several processes can each take a range of streams.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from itertools import chain

from queuectl.store.errors import NoTextError
from queuectl.store.projections import TABLES, CountKey, Values, count_key
from queuectl.store.protocol import Derived, Inspect
from queuectl.store.rows import StreamRange
from queuectl.store.sql.engine import Engine
from queuectl.store.sql.log import Log
from queuectl.store.stream_fold import streams

__all__ = ["OF_JOBS", "derived"]

BATCH = 500
STREAMS = 1000
PAGE = 1000

_KEY = "id"
OF_JOBS = [table for table, columns in TABLES.items() if columns[0] == _KEY]


def derived(  # noqa: PLR0913, PLR0917 (the parts of a store that it reads, then the arguments of `Upkeep.derived`)
    log: Log, engine: Engine, chosen: StreamRange, until: int, unsound: Collection[str], inspect: Inspect | None
) -> Iterator[Derived]:
    """Fold a range of streams; yields what the tables may not have. `inspect` receives every event."""
    live = {table: LiveRows(engine, table, chosen) for table in OF_JOBS if table not in unsound}
    batch, counts, number = Derived({table: [] for table in OF_JOBS}), Counter[CountKey | None](), 0
    for stream in streams(log.examined_streams(chosen, until), inspect):
        counts[count_key(stream.job)] += 1
        for table, values in stream.rows().items():
            if table in live:
                if live[table].has(values):
                    continue
                yield from _suspected(batch, live[table].before(values[0]))
                if live[table].has(values):
                    continue
            batch.rows[table].append(values)
        batch.events += stream.version
        batch.format = max(batch.format, stream.format)
        if stream.notes:
            batch.notes += stream.notes.values()
        number += 1
        if number % STREAMS == 0 or len(batch.rows["jobs"]) >= BATCH:
            yield batch
            batch.clear()
    for rows in live.values():
        yield from _suspected(batch, rows.rest())
    batch.counts = {key: jobs for key, jobs in counts.items() if key is not None}
    yield batch


def _suspected(batch: Derived, suspects: Iterator[tuple[str, bytes]]) -> Iterator[Derived]:
    """Add suspects to the batch. Yields it whenever it is full."""
    for suspect in suspects:
        batch.suspects.append(suspect)
        if len(batch.suspects) >= BATCH:
            yield batch
            batch.clear()


class LiveRows:
    """The rows of a table of jobs, ordered by key, each compared with the row derived from the log.

    Every row that is not found equal becomes a suspect, so correctness does not depend on equal orders.
    """

    def __init__(self, engine: Engine, table: str, chosen: StreamRange) -> None:
        self._engine, self._table = engine, table
        self._end = "" if chosen.end is None else f"AND {_KEY} < ?"
        self._until = () if chosen.end is None else (chosen.end,)
        self._unreadable: tuple[str, str] | None = None
        self._rows = chain.from_iterable(self._pages(chosen.first))
        self._row = next(self._rows, None)

    def has(self, values: Values) -> bool:
        """Whether the next row is this one; if so, move on to the one after it."""
        if self._row != values:
            return False
        self._row = next(self._rows, None)
        return True

    def before(self, key: str) -> Iterator[tuple[str, bytes]]:
        """The rows before a key, which no stream has made."""
        while self._row is not None and self._row[0] < key:
            yield self._table, self._row[0].encode()
            self._row = next(self._rows, None)

    def rest(self) -> Iterator[tuple[str, bytes]]:
        """The remaining rows, which no stream has made or which cannot be read."""
        while self._row is not None:
            yield self._table, self._row[0].encode()
            self._row = next(self._rows, None)
        if self._unreadable is not None:
            yield from ((self._table, key) for key in self._keys(*self._unreadable))

    def _pages(self, first: str) -> Iterator[list[Values]]:
        """Read in pages, like the log. When a row cannot be read as text, it and all later ones are left to `rest`."""
        columns, compared, after = ", ".join(TABLES[self._table]), ">=", first
        while True:
            try:
                page = self._page(columns, compared, after)
            except NoTextError:
                self._unreadable = (compared, after)
                return
            if not page:
                return
            yield page
            compared, after = ">", page[-1][0]

    def _keys(self, compared: str, after: str) -> Iterator[bytes]:
        """The keys as bytes, because they may not be text."""
        last: str | bytes = after
        while page := self._page(self._engine.dialect.bytes_of.format(_KEY), compared, last):
            yield from (key for (key,) in page)
            compared, last = ">", page[-1][0]

    def _page(self, columns: str, compared: str, after: str | bytes) -> list[Values]:
        place = "?" if isinstance(after, str) else self._engine.dialect.text_of.format("?")
        where = f"{_KEY} {compared} {place} {self._end} ORDER BY {_KEY} LIMIT {PAGE}"
        return self._engine.run(f"SELECT {columns} FROM {self._table} WHERE {where}", (after, *self._until))
