"""The archive: a second copy of the log, as NDJSON segments outside the database. It is always a prefix of the log.

A segment is named after the position of its first event and holds up to 8 MiB. A full segment is synced and never
written again. Only the last one grows, under a lock on the folder. Its last line anchors the log: if the database loses
its tail, we notice. The open segment is not synced, so a power cut may leave a hole in it. After a reboot (the file
`boot` changes), the first writer reads all of it and truncates it at the first bad line.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from queuectl.store.archive import boot_marker as boots
from queuectl.store.archive.folder_lock import alone_in, lock_soon, sync_path
from queuectl.store.archive.segments import (
    ArchiveError,
    DivergedError,
    check_reachable,
    first_position,
    folder_of,
    header_of,
    last_event,
    rows_of,
    segment_name,
    segments,
    sound_end,
)
from queuectl.store.ndjson import event_line, header_line
from queuectl.store.rows import Head, StoredEvent

__all__ = ["Archive", "Written"]

SEAL_AT = 8 * 1024 * 1024  # part of the format and not a setting: all writers must agree on which segment is the last
_CHUNK = 1024 * 1024

Page = Callable[[int, int], Sequence[StoredEvent]]
"""(after, until) -> the first rows of the database with `after < position <= until`; empty when there are none."""

Written = tuple[Head, Sequence[StoredEvent]]
"""An event, and the rows that follow it in the database."""


class Archive:
    """The archive of one log. Its methods raise ArchiveError and OSError."""

    def __init__(self, path: str, log_id: str, base: Head, archive_dir: str | None = None) -> None:
        self.folder, self._log_id, self._base = folder_of(path), log_id, base
        self._home = None if archive_dir is None else os.path.join(archive_dir, log_id)
        self._lock: int | None = None
        self._file: int | None = None
        self._size = 0
        self._end = base
        self._new_names = self._checked = False

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────

    def end(self) -> Head | None:
        """The last whole event; None when there is none. Reads without the lock."""
        check_reachable(self.folder)
        for path in reversed(segments(self.folder)):
            with open(path, "rb") as file:
                found = self._last(file.fileno(), path)
            if found is not None:
                return found[0] if found[0].position > self._base.position else None
        return None

    def events(self, after: int, until: int) -> Iterator[StoredEvent]:
        """The events with `after < position <= until`, digests not checked. Raises ArchiveError at a bad line."""
        paths = segments(self.folder)
        starts = list(map(first_position, paths))
        for path, following in zip(paths, [*starts[1:], until + 1], strict=False):
            if following <= after + 1:
                continue
            for row in rows_of(path):
                if after < row.position <= until:
                    yield row

    def _last(self, file: int, path: str) -> tuple[Head, int] | None:
        """See `last_event`. Raises DivergedError for a segment of another log."""
        header = header_of(file, path)
        if header is not None and header.log_id != self._log_id:
            raise DivergedError(f"{self.folder} is the archive of another log")
        return last_event(file)

    def is_unchecked(self) -> bool:
        """Whether there is a writable archive that nobody has checked since the machine booted."""
        with suppress(OSError):
            return not self._is_checked() and os.access(self.folder, os.W_OK) and bool(segments(self.folder))
        return False

    def _is_checked(self) -> bool:
        self._checked = self._checked or boots.is_checked(self.folder)
        return self._checked

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────

    def catch_up(self, page: Page, until: int, *, written: Written | None = None, synced: bool = False) -> None:
        """Copy the missing events up to `until`, a position that is on disk.

        `written`: rows up to there that the caller has written itself. They are not read back when the archive ends
        where they begin. `synced`: wait until the copy is on disk too, however long another process copies. Raises
        DivergedError when the database does not have the event that the archive ends with.
        """
        with self._locked(self._size_of_the_last if synced else lambda: None):
            end = self._settled()
            if written is not None and (written[0].position, written[0].digest) == (end.position, end.digest):
                self._append(written[1])
            else:
                self._copy_pages(page, end, max(end.position, until))
            if synced:
                self._sync()

    def _copy_pages(self, page: Page, end: Head, until: int) -> None:
        rows = page(max(end.position - 1, self._base.position), until)
        if end.position > self._base.position:
            if not rows or (rows[0].position, rows[0].digest) != (end.position, end.digest):
                raise DivergedError(f"event {end.position} of the database differs from the one in {self.folder}")
            rows = rows[1:]
        while rows:
            self._append(rows)
            rows = page(self._end.position, until) if self._end.position < until else ()

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = None

    def _size_of_the_last(self) -> tuple[str, int] | None:
        """The last segment and its size; while these change, the process that has the lock is working."""
        with suppress(OSError):
            for path in segments(self.folder)[-1:]:
                return path, os.stat(path).st_size
        return None

    @contextmanager
    def _locked(self, sign: Callable[[], object]) -> Iterator[None]:
        """Lock the folder: one writer at a time. If it was moved away while we waited, lock the new one.

        Raises ArchiveError when another process holds the lock for a second while `sign` does not change: that process
        hangs, and the queue must not wait for it.
        """
        while True:
            if self._lock is None:
                self._open_folder()
            assert self._lock is not None
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not lock_soon(self._lock, sign):
                    raise ArchiveError(f"another process holds {self.folder}") from None
            if self._is_in_place(self._lock):
                break
            self.close()
        try:
            yield
        except BaseException:
            self._forget()
            raise
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _open_folder(self) -> None:
        check_reachable(self.folder)
        if not os.path.isdir(self.folder):
            self._make_folder()
            self._new_names = True
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _make_folder(self) -> None:
        if self._home is None:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            return
        os.makedirs(os.path.dirname(self._home), mode=0o700, exist_ok=True)
        with alone_in(os.path.dirname(self._home)):
            if os.path.lexists(self.folder):
                return
            if os.path.lexists(self._home):
                raise ArchiveError(self._whose(self._home))
            os.mkdir(self._home, mode=0o700)
            os.symlink(self._home, self.folder)

    def taken(self) -> str | None:
        """Why the archive cannot be made in its folder: another queue with this log id has made it. None: it can.

        A copied or imported log has the same id. The link next to the database says which queue owns a folder.
        """
        if self._home is None or not os.path.lexists(self._home) or os.path.lexists(self.folder):
            return None
        with alone_in(os.path.dirname(self._home)):  # another process of this queue may be creating both
            return None if os.path.lexists(self.folder) else self._whose(self._home)

    def _whose(self, home: str) -> str:
        return (
            f"{home} is the archive of another queue with the same log: give this one another --archive-dir;"
            f" or, if it is this queue's own and the link to it was lost, `ln -s {home} {self.folder}`"
        )

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.folder))
        except FileNotFoundError:
            return False

    def _settled(self) -> Head:
        """The end of the archive, under the lock. Reads it again when another process has written since."""
        if self._file is not None:
            now = os.fstat(self._file)
            if now.st_size == self._size < SEAL_AT and now.st_nlink:
                return self._end
        self._forget()
        for path in reversed(segments(self.folder)):
            if self._continue_sound(path):
                break
        if not self._is_checked():
            boots.note_checked(self.folder)
            self._checked = True
        return self._end

    def _continue_sound(self, path: str) -> bool:
        """Continue a segment. One whose header was lost in a power cut is renamed."""
        try:
            return self._continue(path)
        except DivergedError:
            raise
        except ArchiveError:
            if self._is_checked():
                raise
            os.replace(path, f"{path}.damaged")
            return False

    def _continue(self, path: str) -> bool:
        """Continue a segment after truncating a torn last line. One without a whole header is dropped."""
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            found = self._last(file, path)
            if found is None:
                os.unlink(path)
                return False
            self._end, self._size = found if self._is_checked() else sound_end(path)
            os.ftruncate(file, self._size)
            self._file, file = file, -1
            return True
        finally:
            if file >= 0:
                os.close(file)

    def _forget(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._size, self._end = None, 0, self._base

    def _append(self, rows: Iterable[StoredEvent]) -> None:
        end, pending = self._end, bytearray()
        for row in rows:
            if self._file is None or self._size + len(pending) >= SEAL_AT:
                self._write(pending, end)
                self._start_segment(end)
                pending = bytearray()
            pending += event_line(row)
            end = Head(row.position, row.digest, 0)
            if len(pending) >= _CHUNK:
                self._write(pending, end)
                pending = bytearray()
        self._write(pending, end)

    def _start_segment(self, end: Head) -> None:
        """Seal the last segment and begin the next."""
        if self._file is not None:
            self._new_names = True
            self._sync()
            self._forget()  # if creating the next segment fails, nothing is closed twice
        path = os.path.join(self.folder, segment_name(end.position + 1))
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size, self._new_names = 0, True
        self._write(header_line(self._log_id, end), end)

    def _write(self, data: bytes | bytearray, end: Head) -> None:
        """Write whole lines. If that fails, a part may remain; the next writer truncates the torn line."""
        rest = memoryview(data)
        while rest:
            assert self._file is not None
            rest = rest[os.write(self._file, rest) :]
        self._size, self._end = self._size + len(data), end

    def _sync(self) -> None:
        if self._file is not None:
            try:
                os.fdatasync(self._file)
            except OSError:  # a later sync would prove nothing, so its content is copied again to another file
                for last in segments(self.folder)[-1:]:  # none when the folder was moved away
                    os.replace(last, f"{last}.damaged")
                raise
        if self._new_names and self._lock is not None:
            os.fsync(self._lock)
            for folder in {os.path.dirname(self.folder), os.path.dirname(os.path.realpath(self.folder))}:
                sync_path(folder)
            self._new_names = False
