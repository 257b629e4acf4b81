"""Rows that may differ from the log: the live ones, merged with the derived ones in the order of their keys.

Suspects are remembered in `temp.suspects`, which a shadow makes, and judged later.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from queuectl.store.projections import TABLES, Values

__all__ = ["SUSPECT", "SUSPECT_LIVE", "LiveRows"]

PAGE = 1000

SUSPECT = "INSERT OR IGNORE INTO temp.suspects VALUES (?, ?)"
SUSPECT_LIVE = "INSERT OR IGNORE INTO temp.suspects SELECT ?, {1} FROM main.{0} WHERE"


class LiveRows:
    """The rows of a table of jobs in the order of their keys, each paired with the row derived from the log.

    Whatever is not found equal becomes a suspect, so nothing hangs on the two orders being the same.
    """

    def __init__(self, run: Callable[[str, Sequence[Any]], list[Values]], table: str, sound: bool) -> None:
        self._run, self._table = run, table
        self._rows = self._read() if sound else iter(())
        self._row = next(self._rows, None)

    def has(self, values: Values) -> bool:
        """Whether this very row is live."""
        if self._row == values:
            self._row = next(self._rows, None)
            return True
        while self._row is not None and self._row[0] < values[0]:
            self._suspect()
        if self._row == values:
            self._row = next(self._rows, None)
            return True
        return False

    def end(self) -> None:
        """All that is left was made by no stream."""
        while self._row is not None:
            self._suspect()

    def _suspect(self) -> None:
        assert self._row is not None
        self._run(SUSPECT, (self._table, self._row[0]))
        self._row = next(self._rows, None)

    def _read(self) -> Iterator[Values]:
        """In pages, like the log. Where a row cannot be read as text, it and all after it are suspects."""
        columns = TABLES[self._table]
        key, select = columns[0], f"SELECT {', '.join(columns)} FROM main.{self._table}"
        where, after = f"{key} >= ?", ""
        try:
            while page := self._run(f"{select} WHERE {where} ORDER BY {key} LIMIT {PAGE}", (after,)):
                yield from page
                where, after = f"{key} > ?", page[-1][0]
        except UnicodeDecodeError:
            self._run(f"{SUSPECT_LIVE.format(self._table, key)} {where}", (self._table, after))
