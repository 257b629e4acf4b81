"""The output files of a job. A job prints to `<folder>/<job>/<run>.stdout` and `.stderr`, not to pipes.

The event that ends a run holds the last 4 KiB, the tail. A file is created without a name. It gets one when the run
lasts for some time or prints more than the tail holds, so short and quiet jobs leave nothing in the folder.
"""

import os
from contextlib import suppress
from functools import cache
from typing import Any

from msgspec import Struct

__all__ = [
    "STREAMS",
    "TAIL",
    "Capture",
    "Descriptors",
    "can_name_files",
    "cut_mark",
    "next_data",
    "paths",
    "remove",
    "tail",
    "text_of",
]

TAIL = 4096
"""Bytes of each stream in the event that ends a run."""

STREAMS = ("stdout", "stderr")
BLOCK = 4096
_OPEN = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
_COPY = 1 << 20
_KEEP_SIZE_AND_PUNCH = 0x01 | 0x02

Descriptors = tuple[int, int]
"""The open files of a run's stdout and stderr."""


class _File(Struct, eq=False):
    """One stream's file. The bytes from `head` to `hole_end` are a hole; `lost` more were cut off after `head`."""

    descriptor: int
    path: str
    head: int
    hole_end: int = 0
    lost: int = 0

    @property
    def cut(self) -> int:
        """Bytes that were removed from the middle."""
        return max(0, self.hole_end - self.head) + self.lost

    def trim(self, limit: int) -> None:
        """Free the middle of a file that is larger than `limit` bytes.

        Punching a hole (fallocate(2)) does not race with writers that append. On a file system without holes, the end
        is cut off.
        """
        size = self._size()
        if size <= limit or size - max(0, self.hole_end - self.head) <= limit:
            return
        end = -(-(size - (limit - self.head)) // BLOCK) * BLOCK
        if end <= max(self.hole_end, self.head):
            return
        if _punched(self.descriptor, self.head, end):
            self.hole_end = end
        else:
            os.ftruncate(self.descriptor, self.head)
            self.lost += size - self.head

    def _size(self) -> int:
        """Current file size. If the job truncated its own output (`: > /dev/stdout`), reset the hole and the count."""
        size = os.fstat(self.descriptor).st_size
        if size < self.hole_end:
            self.hole_end = self._first_data(size)
        if size < self.head:
            self.lost = 0
        return size

    def _first_data(self, size: int) -> int:
        """The end of the hole; `head` if there is no hole any more: new data may follow the head directly."""
        try:
            return os.lseek(self.descriptor, self.head, os.SEEK_DATA)  # moves the offset, which O_APPEND ignores
        except (OSError, AttributeError):
            return size

    def last(self) -> tuple[str, bool]:
        """The tail, and whether it is the whole output, byte for byte."""
        self._size()
        raw, size = _last_bytes(self.descriptor)
        if not size:
            return "", True
        text = text_of(raw, cut=size > len(raw))
        return text, size == len(raw) and not self.cut and text.encode() == raw

    def close_gap(self) -> None:
        """Replace a file that has a hole by one without: head, mark, tail. If that raises OSError, nothing changes."""
        size = self._size()
        target = f"{self.path}.whole"
        copy = os.open(target, _OPEN | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _copy(self.descriptor, copy, 0, self.head)
            os.write(copy, cut_mark(self.cut).encode())
            _copy(self.descriptor, copy, max(self.head, self.hole_end), size)
            os.replace(target, self.path)
        except OSError:
            with suppress(OSError):
                os.unlink(target)
            raise
        finally:
            os.close(copy)


class Capture(Struct, eq=False):
    """The two output files of one run, open in its worker. `spare` are empty nameless files from an earlier run.

    `limit` is how many bytes each may take on the disk: half for the head, half for the tail. `nameless`: a file can be
    created without a name and named later (`can_name_files`). `warned`: the log already says that these files cannot be
    maintained. Most runs print nothing, so whatever only output needs is created when there is some.
    """

    folder: str
    job_id: str
    run: int
    limit: int
    spare: Descriptors | None = None
    nameless: bool = True
    published: bool = False
    warned: bool = False
    descriptors: Descriptors = (-1, -1)
    _known: tuple[_File, _File] | None = None
    _whole: tuple[bool, bool] = (True, True)
    _empty: bool = False
    _ended: bool = False

    def __post_init__(self) -> None:
        self.descriptors = self.spare or self._created()

    def _created(self) -> Descriptors:
        stdout, stderr = paths(self.folder, self.job_id, self.run)
        first = self._create(stdout)
        try:
            return first, self._create(stderr)
        except OSError:
            os.close(first)
            raise

    @property
    def _files(self) -> tuple[_File, _File]:
        if self._known is None:
            head = self.limit // 2 // BLOCK * BLOCK
            stdout, stderr = paths(self.folder, self.job_id, self.run)
            first, second = self.descriptors
            self._known = _File(first, stdout, head), _File(second, stderr, head)
        return self._known

    def _create(self, path: str) -> int:
        """Create a file for appending (mode 0600), without a name where that is possible."""
        if self.nameless:
            with suppress(OSError, AttributeError):
                return os.open(self.folder, _OPEN | os.O_TMPFILE, 0o600)
        self._make_folder()
        self.published = True
        return os.open(path, _OPEN | os.O_CREAT | os.O_TRUNC, 0o600)

    def _make_folder(self) -> None:
        with suppress(FileExistsError):
            os.mkdir(os.path.join(self.folder, self.job_id), 0o700)

    def publish(self) -> None:
        """Name the files, so that they can be read during the run."""
        if self.published or self._ended:
            return
        self._make_folder()
        for file in self._files:
            with suppress(FileExistsError):
                _name(file.descriptor, file.path)
        self.published = True

    def trim(self) -> None:
        """Free the middle of the files that exceed the limit."""
        for file in self._files:
            file.trim(self.limit)

    def tails(self) -> tuple[str, str]:
        """The tails of an ended run. Call `settle` next, then `discard` or `emptied`."""
        untouched = self._known is None and not self.published
        self._empty = untouched and _is_empty(self.descriptors[0]) and _is_empty(self.descriptors[1])
        if self._empty:
            return "", ""
        (stdout, no_more_out), (stderr, no_more_err) = (file.last() for file in self._files)
        self._whole = (no_more_out, no_more_err)
        return stdout, stderr

    def settle(self) -> None:
        """Keep only the files whose tails are not the whole output. Raises OSError, for example on a full disk."""
        if self._empty:
            self._ended = True
            return
        try:
            if not all(self._whole):
                self.publish()
                self.trim()
            if self.published:
                self._settle(self._whole)
        finally:
            self._ended = True

    def _settle(self, whole: tuple[bool, bool]) -> None:
        for file, no_more in zip(self._files, whole, strict=True):
            if no_more:
                with suppress(OSError):
                    os.unlink(file.path)
            elif file.cut:
                file.close_gap()
        with suppress(OSError):
            os.rmdir(os.path.join(self.folder, self.job_id))

    def discard(self) -> None:
        """Close the files."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def emptied(self) -> Descriptors:
        """The files, emptied for another run: only for files that never had a name and that no process can still write
        to.
        """
        if not self._empty:
            for descriptor in self.descriptors:
                os.ftruncate(descriptor, 0)
        return self.descriptors


def can_name_files(folder: str) -> bool:
    """Whether a file can be created in the folder without a name and named later, which requires /proc."""
    path = os.path.join(folder, f".nameless-{os.getpid()}")
    try:
        descriptor = os.open(folder, _OPEN | os.O_TMPFILE, 0o600)
    except (OSError, AttributeError):
        return False
    try:
        _name(descriptor, path)
        os.unlink(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _name(descriptor: int, path: str) -> None:
    """Name a nameless file. linkat(2) follows the symbolic link only when Python passes a directory's descriptor."""
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)


def paths(folder: str, job_id: str, run: int) -> tuple[str, str]:
    """The paths of a run's stdout and stderr, which exist if they were kept."""
    return os.path.join(folder, job_id, f"{run}.stdout"), os.path.join(folder, job_id, f"{run}.stderr")


def cut_mark(size: int) -> str:
    """The text that replaces `size` bytes that were cut."""
    return f"\n… {size} bytes cut (max-output) …\n"


def tail(path: str) -> str:
    """The tail of a file that a lost run left; empty when there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        raw, size = _last_bytes(descriptor)
        return text_of(raw, cut=size > len(raw))
    finally:
        os.close(descriptor)


def remove(folder: str, job_id: str) -> None:
    """Remove every output file of a job."""
    if not job_id or "/" in job_id or job_id.startswith("."):
        return  # it would lead out of the folder
    place = os.path.join(folder, job_id)
    with suppress(OSError):
        for name in os.listdir(place):
            os.unlink(os.path.join(place, name))
        os.rmdir(place)


def text_of(raw: bytes, *, cut: bool = False) -> str:
    """Output as text for an event: UTF-8, else U+FFFD, no NUL. `cut`: it may begin in the middle of a character."""
    if cut:
        while raw and 0x80 <= raw[0] < 0xC0:
            raw = raw[1:]
    return raw.decode("utf-8", "replace").replace("\0", "�")


def next_data(descriptor: int, position: int) -> int:
    """The first offset from `position` on that is not in a hole; `position` itself when there is none.

    Also `position` on a system that does not know holes.
    """
    with suppress(OSError, AttributeError):
        return os.lseek(descriptor, position, os.SEEK_DATA)
    return position


def _punched(descriptor: int, start: int, end: int) -> bool:
    """Make these bytes a hole. Returns False where the file system, or the C library, cannot do that."""
    fallocate = getattr(_libc(), "fallocate", None)
    return fallocate is not None and fallocate(descriptor, _KEEP_SIZE_AND_PUNCH, start, end - start) == 0


@cache
def _libc() -> Any:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "fallocate"):  # Linux has it; macOS and the BSDs have not
        libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return libc


def _copy(source: int, target: int, start: int, end: int) -> None:
    while start < end and (chunk := os.pread(source, min(_COPY, end - start), start)):
        start += os.write(target, chunk)


def _is_empty(descriptor: int) -> bool:
    """Whether a file of output is empty. This moves its offset, which does not matter: the file is only appended to."""
    return os.lseek(descriptor, 0, os.SEEK_END) == 0


def _last_bytes(descriptor: int) -> tuple[bytes, int]:
    size = os.fstat(descriptor).st_size
    return (os.pread(descriptor, TAIL, max(0, size - TAIL)) if size else b""), size
