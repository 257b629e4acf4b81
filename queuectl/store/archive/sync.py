"""Keeps a SQLite queue and its archive in step: compared on open, copied after each commit that is on disk.

A database that is behind its archive gets the missing events. One that has diverged from it becomes read-only:
one of the two is missing acknowledged events.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from typing import Protocol

from queuectl.errors import NotArchivedError, StoreBusyError, StoreError, runnable
from queuectl.store.archive.archive import Archive, Keeping
from queuectl.store.archive.segments import ArchiveError, BesideError
from queuectl.store.protocol import RECOVER, DamagedEventError, Head, StoredEvent, VersionConflictError

__all__ = ["ArchiveSync", "say"]


class Kept(Protocol):
    """The part of a store that the archive's sync uses."""

    path: str
    spans_hosts: bool

    def head(self) -> Head:
        """See the protocol."""

    def on_disk(self) -> int:
        """See the protocol."""

    def digest_at(self, position: int) -> bytes | None:
        """The digest of an event."""

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[None]:
        """See the protocol."""

    def stored(self, *, after: int = 0, until: int | None = None) -> Iterator[StoredEvent]:
        """See the protocol."""

    def append_stored(self, rows: Iterator[StoredEvent]) -> None:
        """See the protocol."""


class ArchiveSync:
    """One store's archive; `refusal` says why the store must not be written to."""

    def __init__(self, store: Kept, archive: Archive, keeping: Keeping) -> None:
        self._store, self.archive = store, archive
        self._paranoid = keeping.durability == "paranoid"
        self._warned = False
        self.refusal: str | None = None
        with suppress(OSError):  # the first copy says so
            self.refusal = archive.taken()

    def compare(self) -> None:
        """See whether the database has all that the archive has; bring it up to an archive that is ahead."""
        if self.refusal is not None:
            return
        try:
            end = self.archive.end()  # before the database is asked: it is never behind what was copied from it
        except BesideError as error:
            self.refusal = self._ways_out(str(error))
            return
        except (ArchiveError, OSError):
            end = None  # the next copy says so, unless a power cut tore it
        if end is None or self._store.digest_at(end.position) == end.digest:
            if self.archive.is_unchecked():
                self._copy_what_is_known()
            return
        try:
            self._restore(end)
        except StoreBusyError:
            raise
        except StoreError as error:
            self.refusal = str(error)

    def _restore(self, end: Head) -> None:
        with self._store.transaction():
            head = self._store.head()
            if head.position >= end.position:
                if self._store.digest_at(end.position) != end.digest:
                    raise StoreError(self._ways_out(f"event {end.position} of {self._store.path} is not its archive's"))
                return  # someone else was faster
            try:
                self._store.append_stored(self.archive.events(head.position, end.position))
            except (DamagedEventError, ArchiveError, VersionConflictError) as error:
                raise StoreError(self._ways_out(f"{self._store.path} does not fit its archive ({error})")) from error
            if self._store.head().digest != end.digest:
                raise StoreError(self._ways_out(f"{self._store.path} does not fit its archive"))
        first = head.position + 1
        what = f"event {first} was" if first == end.position else f"events {first} to {end.position} were"
        say(f"{self._store.path} was behind its archive: {what} put back")

    def _ways_out(self, what: str) -> str:
        restart = f"move {self.archive.folder} away to begin a new archive"
        return f"{what}: {restart}" if self._store.spans_hosts else f"{what}: run `{runnable(RECOVER)}`, or {restart}"

    def _copy_what_is_known(self) -> None:
        """What is known to be on disk: on a disk that fails, nothing."""
        try:
            until = self._store.on_disk()
        except StoreError:
            return
        self.copy(until)

    def copy(self, until: int) -> None:
        """Copy what is on disk up to `until`.

        A copy that fails is said once and made up for by the next one, but in `paranoid` it is a StoreError.
        """
        try:
            self.archive.catch_up(self._rows, until, synced=self._paranoid)
        except (StoreError, OSError, UnicodeError) as error:
            what = f"recorded in the database but not in the archive {self.archive.folder}: {_reason(error)}"
            if isinstance(error, BesideError):
                self.refusal = self._ways_out(str(error))
            if self._paranoid:
                raise NotArchivedError(f"the change is {what}") from error
            if not self._warned:
                say(f"changes are {what}")
            self._warned = True

    def _rows(self, after: int, until: int) -> Iterator[StoredEvent]:
        return self._store.stored(after=after, until=until)

    def close(self) -> None:
        """Give back the archive's descriptors."""
        self.archive.close()


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def say(message: str) -> None:
    """One line on stderr; a path may have anything in it."""
    print(f"queuectl: {message if message.isprintable() else ascii(message)}", file=sys.stderr)
