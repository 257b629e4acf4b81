"""Compares the archive with the log: each line with its event.

A line belongs to an event when it has the event's digest. An unreadable, extra or missing line is reported once and
does not invalidate those after it.
"""

import os
from collections.abc import Iterator

from queuectl.checks.report import Report
from queuectl.errors import StoreError
from queuectl.store.archive.segments import ArchiveError, first_position, segments, wrong_header
from queuectl.store.errors import RECOVER
from queuectl.store.ndjson import event_line, read_event
from queuectl.store.protocol import ArchiveReader, Store
from queuectl.store.rows import Head, StoredEvent

__all__ = ["ArchiveCheck", "line_of"]


class ArchiveCheck:
    """Pass every event of the log in order to `compare`, then call `end`."""

    def __init__(self, store: Store, archive: ArchiveReader, report: Report) -> None:
        self._store, self._archive, self._report = store, archive, report
        self._last: Head | StoredEvent = store.log.base
        self._resumes = 0
        self._misplaced: int | None = None
        self._torn = self._bad_header = False
        self._lines = self._all_lines()
        self._line = next(self._lines, None)

    def compare(self, row: StoredEvent) -> None:
        """Find the event's line among the next lines of the archive, and report what is wrong with those before it."""
        after, self._last = self._last.position + 1, row
        if row.position < self._resumes:
            return
        expected = line_of(row)
        while self._line is not None:
            line = self._line
            if line == expected:
                self._torn, self._line = False, next(self._lines, None)
                return
            place = self._place(line)
            if place is not None and place > row.position:
                self._report_missing(row.position, place)
                return
            self._line = next(self._lines, None)
            if place is None or place == row.position:
                self._report.doubt("archive", after, row.position, _how(line), row.stream_id)
                self._torn = True
                return
            if not self._torn and place != self._misplaced:
                self._misplaced = place
                self._report.add("archive", place, "its line in the archive is out of order or repeated")

    def end(self) -> None:
        """Report an archive that cannot be read to its end, or that is ahead of the log."""
        try:
            end = self._archive.end()
        except (ArchiveError, OSError) as error:
            if not self._bad_header:
                self._report.add("archive", None, str(error), getattr(error, "remedy", RECOVER))
            return
        head = self._store.log.head().position
        if end is not None and end.position > head:
            self._report.missing(head + 1, end.position, "the archive has it")

    def _all_lines(self) -> Iterator[bytes]:
        """The lines of all events. An incomplete line at the end of the archive is left out, one before it reported."""
        paths = segments(self._archive.folder)
        for path in paths:
            with open(path, "rb") as file:
                if (header := next(file, b"")).endswith(b"\n") and (why := self._wrong_header(path, header)):
                    what = f"the header of its segment {os.path.basename(path)} in the archive: {why}"
                    self._report.add("archive", first_position(path), what)
                    self._bad_header = True
                for line in file:
                    if line.endswith(b"\n"):
                        yield line
                    elif path != paths[-1]:
                        what = f"the end of its segment {os.path.basename(path)} in the archive is no event"
                        self._report.add("archive", first_position(path), what)

    def _wrong_header(self, path: str, line: bytes) -> str | None:
        last = self._last
        return wrong_header(
            path, line, self._store.log.log_id, lambda position: last.digest if position == last.position else None
        )

    def _place(self, line: bytes) -> int | None:
        """The position of the event that the line belongs to; None when it belongs to none."""
        try:
            row = read_event(line)
        except ValueError:
            return None
        return row.position if self._store.log.digest_at(row.position) == row.digest else None

    def _report_missing(self, first: int, resumes: int) -> None:
        """Report missing lines, unless an unreadable line before them may have been one of them."""
        self._resumes = resumes
        if not self._torn:
            what = "it is" if first == resumes - 1 else f"it and all up to {resumes - 1} are"
            self._report.add("archive", first, f"{what} missing from the archive")


def line_of(row: StoredEvent) -> bytes | None:
    """The event's line; None when the row cannot be written as one."""
    try:
        return event_line(row)
    except (StoreError, UnicodeError):
        return None


def _how(line: bytes) -> str:
    try:
        read_event(line)
    except ValueError as error:
        return f"its line in the archive cannot be read ({error})"
    return "the archive has another event in its place"
