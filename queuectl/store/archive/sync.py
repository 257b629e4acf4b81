"""Synchronises a queue with its archive: compares them on open, and copies each commit that is on disk.

A database that is behind its archive gets the missing events. If the two have diverged, the database becomes read-only,
because one of them lacks acknowledged events.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from queuectl.errors import NotArchivedError, StoreBusyError, StoreError, runnable
from queuectl.store.archive.archive import Archive, Written
from queuectl.store.archive.segments import ArchiveError, DivergedError
from queuectl.store.errors import RECOVER, DamagedEventError, Remedies, VersionConflictError
from queuectl.store.rows import Head, StoredEvent

if TYPE_CHECKING:
    from queuectl.store.protocol import Log, Writer

__all__ = ["ArchivePlace", "ArchiveSync"]

KEPT = 1000
"""The most rows that are kept for the next copy."""


class ArchivePlace(Struct, frozen=True):
    """The place of an archive. `database` is the database's name in messages; `prefix` plus `.archive` is the folder or
    a link to it.

    A new archive is created in `archive_dir`, if that is given.
    """

    database: str
    prefix: str
    archive_dir: str | None
    remedies: Remedies


class ArchiveSync:
    """The archive of one open store. `refusal` says why the store must not be written to; None: it may be.

    `page` returns the first rows of the database with `after < position <= until`. `paranoid`: a commit waits until the
    copy is on disk too, and fails otherwise. `warn` receives one line.
    """

    archive: Archive
    refusal: str | None

    def __init__(
        self,
        log: "Log",
        page: Callable[[int, int], Sequence[StoredEvent]],
        place: ArchivePlace,
        *,
        paranoid: bool,
        warn: Callable[[str], None],
    ) -> None:
        self._log, self._page, self._place = log, page, place
        self._paranoid, self._warn, self._warned = paranoid, warn, False
        self._start, self._rows = log.base, list[StoredEvent]()
        self._open()

    def _open(self) -> None:
        place, self.refusal = self._place, None
        self.archive = Archive(place.prefix, self._log.log_id, self._log.base, place.archive_dir)
        with suppress(OSError):  # the first copy reports the error
            self.refusal = self.archive.taken()

    def change_log(self) -> None:
        """Use the archive of the log that the store holds now."""
        self.archive.close()
        self._open()

    # ── when the store is opened ────────────────────────────────────────────────────────────────────

    def compare(self, writer: "Writer") -> None:
        """Compare the database with the archive, and add events that only the archive has."""
        if self.refusal is not None:
            return
        try:
            end = self.archive.end()  # read before the database: the archive may not seem ahead of it
        except DivergedError as error:
            self.refusal = self._ways_out(str(error))
            return
        except (ArchiveError, OSError):
            end = None  # the next copy reports the error, unless a power cut tore the last line
        if end is None or self._log.digest_at(end.position) == end.digest:
            if self.archive.is_unchecked():
                self._copy_what_is_on_disk(writer)
            return
        try:
            self._restore(writer, end)
        except StoreBusyError:
            raise
        except StoreError as error:
            self.refusal = str(error)

    def _restore(self, writer: "Writer", end: Head) -> None:
        """Append the archive's further events. Raises StoreError when they do not continue the database's log."""
        database = self._place.database
        with writer.transaction():
            head = self._log.head()
            if head.position >= end.position:
                if self._log.digest_at(end.position) != end.digest:
                    raise StoreError(
                        self._ways_out(f"event {end.position} of {database} differs from the one in its archive")
                    )
                return  # another process was faster
            try:
                writer.append_stored(self.archive.events(head.position, end.position))
            except (DamagedEventError, ArchiveError, VersionConflictError) as error:
                raise StoreError(self._ways_out(f"{database} does not fit its archive ({error})")) from error
            if self._log.head().digest != end.digest:
                raise StoreError(self._ways_out(f"{database} does not fit its archive"))
        writer.release("queuectl")
        first = head.position + 1
        what = f"event {first} was" if first == end.position else f"events {first} to {end.position} were"
        self._warn(f"{database} was behind its archive: {what} put back")

    def _ways_out(self, what: str) -> str:
        restart = f"move {self.archive.folder} away to begin a new archive"
        repair = self._place.remedies.log
        return f"{what}: run `{runnable(RECOVER)}`, or {restart}" if repair == RECOVER else f"{what}: {restart}"

    def _copy_what_is_on_disk(self, writer: "Writer") -> None:
        """Copy the events that are known to be on disk. If the disk fails, copy none."""
        try:
            until = writer.on_disk()
        except StoreError:
            return
        self.copy(until)

    # ── after each commit ───────────────────────────────────────────────────────────────────────────

    def note_written(self, before: Head, rows: Sequence[StoredEvent]) -> None:
        """Keep rows that were inserted after `before`, so that the next copy need not read them back.

        Not very many: a bulk change would hold them all, and it takes no longer to read them back in pages.
        """
        if not self._rows or self._rows[-1].digest != before.digest:  # another process wrote, or rows were rolled back
            self._start, self._rows = before, []
        self._rows = [*self._rows, *rows] if len(self._rows) + len(rows) <= KEPT else []

    def copy_written(self, end: Head) -> None:
        """Copy the events up to the event `end`, after a commit that waited for the disk."""
        rows, self._rows = self._rows, []
        self.copy(end.position, (self._start, rows) if rows and rows[-1].digest == end.digest else None)

    def copy(self, until: int, written: Written | None = None) -> None:
        """Copy the events up to `until`, which are on disk. `written`: see `Archive.catch_up`.

        A failed copy is reported once, and the next copy includes its events. In `paranoid` it raises StoreError.
        """
        try:
            self.archive.catch_up(self._page, until, written=written, synced=self._paranoid)
        except (StoreError, OSError, UnicodeError) as error:
            what = f"recorded in the database but not in the archive {self.archive.folder}: {_reason(error)}"
            if isinstance(error, DivergedError):
                self.refusal = self._ways_out(str(error))
            if self._paranoid:
                raise NotArchivedError(f"the change is {what}") from error
            if not self._warned:
                self._warn(f"changes are {what}")
            self._warned = True

    def close(self) -> None:
        """Close the archive's descriptors."""
        self.archive.close()


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
