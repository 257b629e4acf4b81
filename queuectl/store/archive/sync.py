"""Synchronises a queue with its archive: compares them on open, and decides what a failed copy means.

A database that is behind its archive gets the missing events. If the two have diverged, the database becomes read-only,
because one of them lacks acknowledged events.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from queuectl.errors import NotArchivedError, StoreBusyError, StoreError, reason_of, runnable
from queuectl.store.archive.archive import Archive
from queuectl.store.archive.segments import ArchiveError, DivergedError
from queuectl.store.errors import RECOVER, DamagedEventError, Remedies, VersionConflictError
from queuectl.store.rows import Head

if TYPE_CHECKING:
    from queuectl.store.protocol import Log, Writer

__all__ = ["ArchivePlace", "ArchiveSync"]


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

    `warn` receives one line.
    """

    archive: Archive
    refusal: str | None

    def __init__(self, log: "Log", place: ArchivePlace, warn: Callable[[str], None]) -> None:
        self._log, self._place = log, place
        self._warn, self._warned = warn, False
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
                _copy_what_is_on_disk(writer)
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
                if isinstance(error, DamagedEventError):  # its own message names one way out
                    why = f"event {error.position} of {error.stream_id} does not continue its log ({error.why})"
                else:
                    why = str(error)
                raise StoreError(self._ways_out(f"{database} does not fit its archive: {why}")) from error
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

    def report(self, error: Exception, *, is_fatal: bool) -> None:
        """Report a failed copy, once. Raises NotArchivedError if that `is_fatal`."""
        what = f"recorded in the database but not in the archive {self.archive.folder}: {_reason(error)}"
        if isinstance(error, DivergedError):
            self.refusal = self._ways_out(str(error))
        if is_fatal:
            raise NotArchivedError(f"the change is {what}") from error
        if not self._warned:
            self._warn(f"changes are {what}")
        self._warned = True

    def close(self) -> None:
        """Close the archive's descriptors."""
        self.archive.close()


def _copy_what_is_on_disk(writer: "Writer") -> None:
    """Copy the events that are known to be on disk. If the disk fails, copy none."""
    try:
        until = writer.on_disk()
    except StoreError:
        return
    writer.copy(until)


def _reason(error: Exception) -> str:
    return reason_of(error) if isinstance(error, OSError) else str(error)
