"""Checks whether segments of the archive hold exactly a range of the log. The answer is only yes or no.

If it is no, `archive_check.py` finds out why. That check must read all segments one after another, because a line may
be out of order by more than a segment.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

from queuectl.checks.archive_check import line_of
from queuectl.store.archive.segments import first_position, segments
from queuectl.store.ndjson import read_header
from queuectl.store.protocol import Store
from queuectl.store.rows import Head, StoredEvent

__all__ = ["SegmentCheck", "starts"]


def starts(folder: str, base: int, head: int) -> dict[int, str] | None:
    """The archive's segments by the position before each; None when they are not in the order of the log."""
    paths = segments(folder)
    before = [first_position(path) - 1 for path in paths]
    are_in_order = all(one < other for one, other in pairwise(before))
    if before and (before[0] != base or before[-1] > head or not are_in_order):
        return None
    return dict(zip(before, paths, strict=True))


class SegmentCheck:
    """Pass every event of the range in order to `compare`, then read `is_exact`.

    The last segment of an archive may end before the log does, and its last line may be incomplete.
    """

    def __init__(self, store: Store, paths: Sequence[str], *, with_last: bool) -> None:
        self._store, self._with_last = store, with_last
        self._lines = self._all_lines(paths)
        self._differs = self._is_over = False

    def compare(self, row: StoredEvent) -> None:
        """Compare the next line with this event's line."""
        if self._differs or self._is_over:
            return
        line = next(self._lines, None)
        if line is None and self._with_last:
            self._is_over = True
        elif line is None or line != line_of(row):
            self._differs = True

    def is_exact(self) -> bool:
        """Whether there was nothing else than the lines of these events."""
        return not self._differs and (self._with_last or next(self._lines, None) is None)

    def _all_lines(self, paths: Sequence[str]) -> Iterator[bytes]:
        for path in paths:
            with open(path, "rb") as file:
                if not self._is_right(path, next(file, b"")):
                    self._differs = True
                    return
                for line in file:
                    if line.endswith(b"\n"):
                        yield line
                    elif path != paths[-1] or not self._with_last:
                        self._differs = True

    def _is_right(self, path: str, header_line: bytes) -> bool:
        """Whether a segment begins as it should."""
        if not header_line.endswith(b"\n"):
            return False
        with suppress(ValueError):
            header, log = read_header(header_line), self._store.log
            after = first_position(path) - 1
            expected = Head(after, log.digest_at(after) or b"", 0)
            return header.log_id == log.log_id and header.base == expected
        return False
