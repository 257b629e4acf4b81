"""Records in one sequence what a queue does to its files: the database through SQLite's VFS, the rest through `os`.

The -shm is not recorded: it is shared memory that SQLite creates again. With `trouble` the disk is full or fails for
some operations: a write is then partial, and a failed sync may lose data for good.
"""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any
from unittest.mock import patch

import apsw

from queuectl.store.archive import archive
from queuectl.store.archive import boot_marker as boots
from queuectl.store.sqlite import connection
from tests.powerloss.disk import FOLDER, Acknowledged, FailedSync, Name, Rename, Step, Sync, SyncFolder, Truncate, Write
from tests.powerloss.trouble import OPEN, SYNC, TRUNCATE, WRITE, Trouble


class Recorder:
    """The steps so far; every file ever created has a number."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        self.steps: list[Step] = []
        self._files: dict[str, int] = {}
        self._made = FOLDER
        self.open: list[_File] = []

    def adopt(self, folder: str) -> None:
        """Record existing files as synced."""
        for place, folders, files in os.walk(folder):
            for name in folders:
                self.folder(os.path.join(place, name))
            for name in files:
                path = os.path.join(place, name)
                with open(path, "rb") as file:
                    self.steps.append(Write(self.file(path), 0, file.read()))
                self.steps.append(Sync(self.file(path)))
            self.steps.append(SyncFolder(place))

    def file(self, path: str) -> int:
        """The number of the file at a path; an unknown file starts empty."""
        if path not in self._files:
            self._made += 1
            self._files[path] = self._made
            self.steps.append(Name(path, self._made))
        return self._files[path]

    def nameless(self) -> int:
        """A number for a file that SQLite unlinks as soon as it is open: no power cut leaves it."""
        self._made += 1
        return self._made

    def folder(self, path: str) -> None:
        self._files[path] = FOLDER
        self.steps.append(Name(path, FOLDER))

    def removed(self, path: str) -> None:
        del self._files[path]
        self.steps.append(Name(path, None))

    def renamed(self, old: str, new: str) -> None:
        self._files[new] = self._files.pop(old)
        self.steps.append(Rename(old, new))

    def acknowledged(self, position: int) -> None:
        self.steps.append(Acknowledged(position))

    def all_is_well(self) -> None:
        """No operation fails from now on; an open file whose sync failed still reports it, as on Linux."""
        self.trouble.over()

    def synced(self, file: int) -> int:
        """Record a file's sync; return its errno."""
        error = self.trouble.error(SYNC)
        self.steps.append(FailedSync(file, self.trouble.seed()) if error else Sync(file))
        return error


@contextmanager
def recording(trouble: Trouble) -> Iterator[Recorder]:
    """Record every queue that this process opens meanwhile."""
    recorder = Recorder(trouble)
    vfs = _Vfs(recorder)
    files = _Os(recorder)
    with ExitStack() as patches:
        patches.enter_context(booted())
        patches.enter_context(patch.object(boots, "open", files.open_file, create=True))
        for module in (archive, boots, connection):
            patches.enter_context(patch.object(module, "os", files))
        try:
            yield recorder
        finally:
            vfs.unregister()


@contextmanager
def booted() -> Iterator[None]:
    """Simulate another boot of the machine."""
    boot = os.urandom(8).hex()
    with patch.object(boots, "boot_id", lambda: boot):
        yield


class _Vfs(apsw.VFS):
    """The system's VFS with recording; it is the default while it is registered."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        super().__init__("recorded", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _File(name, flags, self._recorder)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._recorder.removed(filename)
        if syncdir:
            self._recorder.steps.append(SyncFolder(os.path.dirname(filename)))


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], recorder: Recorder) -> None:
        super().__init__("unix", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._recorder = recorder
        self._file = recorder.file(path) if path else recorder.nameless()
        # The first sync of a new journal also syncs its folder: UNIXFILE_DIRSYNC in SQLite's os_unix.c.
        journal = flags[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL)
        self._folder = os.path.dirname(path) if path and journal else None
        self.owed = 0
        recorder.open.append(self)

    def xClose(self) -> None:
        self._recorder.open.remove(self)
        super().xClose()

    def owe(self, file: int, error: int) -> None:
        """Report an error at the next sync: a sync by another process has failed."""
        self.owed = error if file == self._file else self.owed

    def xWrite(self, data: Any, offset: int) -> None:
        error = self._recorder.trouble.error(WRITE, max(0, offset + len(data) - self.xFileSize()))
        done = bytes(data[: len(data) // 2] if error else data)
        super().xWrite(done, offset)
        self._recorder.steps.append(Write(self._file, offset, done))
        _fail(error, apsw.SQLITE_IOERR_WRITE)

    def xTruncate(self, newsize: int) -> None:
        _fail(self._recorder.trouble.error(TRUNCATE), apsw.SQLITE_IOERR_TRUNCATE)
        super().xTruncate(newsize)
        self._recorder.steps.append(Truncate(self._file, newsize))

    def xSync(self, flags: int) -> None:
        """A failure is reported once to every process that has the file open."""
        super().xSync(flags)
        error, owed = self._recorder.synced(self._file), self.owed
        for other in self._recorder.open if error else ():
            other.owe(self._file, error)
        self.owed = 0
        _fail(error or owed, apsw.SQLITE_IOERR_FSYNC)
        if self._folder is not None:
            self._recorder.steps.append(SyncFolder(self._folder))
            self._folder = None


def _fail(error: int, what: int) -> None:
    """Raise the error as SQLite's own VFS does."""
    if error == errno.EROFS:
        raise apsw.ReadOnlyError
    if error == errno.ENOSPC and what == apsw.SQLITE_IOERR_WRITE:
        raise apsw.FullError
    if error:
        failed = apsw.IOError(os.strerror(error))
        failed.extendedresult = what
        raise failed


def _refuse(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))


class _Os:
    """The module `os`, with recording of all changes to files."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            _refuse(self._recorder.trouble.error(OPEN))
        descriptor = os.open(path, flags, mode)
        self._paths[descriptor] = path
        if not os.path.isdir(path):
            file = self._recorder.file(path)
            if flags & os.O_TRUNC:
                self._recorder.steps.append(Truncate(file, 0))
        return descriptor

    def open_file(self, what: str | int, mode: str) -> IO[Any]:
        """The function `open`, of a path to read or of a descriptor to write."""
        if isinstance(what, int):
            return _Written(what, self._recorder, self._file(what))
        assert mode == "rb"
        return open(what, mode)

    def makedirs(self, path: str, mode: int = 0o777, exist_ok: bool = False) -> None:
        there = os.path.isdir(path)
        os.makedirs(path, mode, exist_ok)
        if not there:
            self._recorder.folder(path)

    def write(self, descriptor: int, data: Any) -> int:
        """Record a write; all writes through `os` append."""
        offset, error = os.fstat(descriptor).st_size, self._recorder.trouble.error(WRITE, len(data))
        written = os.write(descriptor, data[: len(data) // 2] if error else data)
        self._recorder.steps.append(Write(self._file(descriptor), offset, bytes(data[:written])))
        _refuse(error)
        return written

    def ftruncate(self, descriptor: int, size: int) -> None:
        _refuse(self._recorder.trouble.error(TRUNCATE))
        if size != os.fstat(descriptor).st_size:
            self._recorder.steps.append(Truncate(self._file(descriptor), size))
        os.ftruncate(descriptor, size)

    def fdatasync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)
        _refuse(self._recorder.synced(self._file(descriptor)))

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)
        path = self._paths[descriptor]
        self._recorder.steps.append(SyncFolder(path) if os.path.isdir(path) else Sync(self._file(descriptor)))

    def unlink(self, path: str) -> None:
        os.unlink(path)
        self._recorder.removed(path)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)
        self._recorder.renamed(old, new)

    def replace(self, old: str, new: str) -> None:
        os.replace(old, new)
        self._recorder.renamed(old, new)

    def _file(self, descriptor: int) -> int:
        return self._recorder.file(self._paths[descriptor])


class _Written(io.FileIO):
    def __init__(self, descriptor: int, recorder: Recorder, file: int) -> None:
        super().__init__(descriptor, "wb")
        self._recorder, self._file = recorder, file

    def write(self, data: Any) -> int:
        offset = self.tell()
        written = super().write(data)
        self._recorder.steps.append(Write(self._file, offset, bytes(data[:written])))
        return written
