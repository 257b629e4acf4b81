"""What a job prints goes to files, not pipes: `<folder>/<job>/<run>.stdout` and `.stderr`.

The last 4 KiB are the tail that the event carries. A file is made without a name and gets one when the run has
lasted a moment or has more to say than the tail holds, so that short and quiet jobs cost the folder nothing.
"""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from queuectl.store.protocol import is_id

__all__ = ["STREAMS", "TAIL", "Capture", "Descriptors", "cut_mark", "next_data", "paths", "remove", "tail", "text_of"]

TAIL = 4096
"""Bytes of each stream that the event of a run's end carries."""

STREAMS = ("stdout", "stderr")
BLOCK = 4096
_OPEN = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
_COPY = 1 << 20
_KEEP_SIZE_AND_PUNCH = 0x01 | 0x02


Descriptors = tuple[int, int]


@dataclass(slots=True)
class _File:
    """One stream's file. Bytes from `head` to `hole_end` are a hole, and `lost` more were cut off there."""

    descriptor: int
    path: str
    head: int
    hole_end: int = 0
    lost: int = 0

    @property
    def cut(self) -> int:
        """Bytes that are gone from the middle."""
        return max(0, self.hole_end - self.head) + self.lost

    def hold_to(self, limit: int) -> None:
        """Free the middle of a file that takes more than `limit` bytes.

        A hole (fallocate(2)) does not race with whoever appends; where the file system has none, the end is cut off.
        """
        size = self._size()
        if size <= limit or size - max(0, self.hole_end - self.head) <= limit:
            return
        end = -(-(size - (limit - self.head)) // BLOCK) * BLOCK
        if end <= max(self.hole_end, self.head):
            return
        if _libc().fallocate(self.descriptor, _KEEP_SIZE_AND_PUNCH, self.head, end - self.head) == 0:
            self.hole_end = end
        else:
            os.ftruncate(self.descriptor, self.head)
            self.lost += size - self.head

    def _size(self) -> int:
        """How long it is. What a job takes back of its output (`: > /dev/stdout`) takes a hole and a cut along."""
        size = os.fstat(self.descriptor).st_size
        if size < self.hole_end:
            self.hole_end = self._first_data(size)
        if size < self.head:
            self.lost = 0
        return size

    def _first_data(self, size: int) -> int:
        """Where the hole ends, if one is left: behind the head there may be new data already."""
        try:
            return os.lseek(self.descriptor, self.head, os.SEEK_DATA)  # appending does not ask where that is
        except OSError:
            return size

    def last(self) -> tuple[str, bool]:
        """The tail, and whether it is all there ever was, byte for byte."""
        self._size()
        raw, size = _last_bytes(self.descriptor)
        if not size:
            return "", True
        text = text_of(raw, cut=size > len(raw))
        return text, size == len(raw) and not self.cut and text.encode() == raw

    def close_gap(self) -> None:
        """Put a plain file, head, mark and tail, in the place of the one with a hole."""
        size = self._size()
        target = f"{self.path}.whole"
        copy = os.open(target, _OPEN | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _copy(self.descriptor, copy, 0, self.head)
            os.write(copy, cut_mark(self.cut).encode())
            _copy(self.descriptor, copy, max(self.head, self.hole_end), size)
        finally:
            os.close(copy)
        os.replace(target, self.path)


@dataclass(slots=True, eq=False)
class Capture:
    """The two output files of one run, held open by its worker; `spare` are files to use again.

    `limit` bounds what each takes on the disk, in bytes: half of it for the head, half for the tail. `lamented`: that
    they cannot be looked after has been said.
    """

    folder: str
    job_id: str
    run: int
    limit: int
    spare: Descriptors | None = None
    published: bool = False
    lamented: bool = False
    _files: list[_File] = field(default_factory=list)
    _whole: tuple[bool, bool] = (True, True)
    _ended: bool = False

    def __post_init__(self) -> None:
        head = self.limit // 2 // BLOCK * BLOCK
        try:
            for i, path in enumerate(paths(self.folder, self.job_id, self.run)):
                descriptor = self.spare[i] if self.spare else self._create(path)
                self._files.append(_File(descriptor, path, head))
        except OSError:
            self.discard()
            raise

    @property
    def descriptors(self) -> Descriptors:
        """What the command gets as stdout and stderr."""
        return self._files[0].descriptor, self._files[1].descriptor

    def _create(self, path: str) -> int:
        """A file for appending (0600), without a name where the system can do that."""
        with suppress(OSError, AttributeError):
            return os.open(self.folder, _OPEN | os.O_TMPFILE, 0o600)
        self._make_folder()
        self.published = True
        return os.open(path, _OPEN | os.O_CREAT | os.O_TRUNC, 0o600)

    def _make_folder(self) -> None:
        with suppress(FileExistsError):
            os.mkdir(os.path.join(self.folder, self.job_id), 0o700)

    def publish(self) -> None:
        """Give the files their names, for whoever wants to read them while the run is on."""
        if self.published or self._ended:
            return
        self._make_folder()
        for file in self._files:
            with suppress(FileExistsError):
                # linkat(2) follows the link only when told to, and Python only tells it with a directory's descriptor
                os.link(f"/proc/self/fd/{file.descriptor}", file.path, src_dir_fd=file.descriptor)
        self.published = True

    def hold_to_limit(self) -> None:
        """Give the middle of what is longer than the limit back to the disk."""
        for file in self._files:
            file.hold_to(self.limit)

    def tails(self) -> tuple[str, str]:
        """The tails of an ended run. `settle` follows, then `discard` or `emptied`."""
        (stdout, no_more_out), (stderr, no_more_err) = (file.last() for file in self._files)
        self._whole = (no_more_out, no_more_err)
        return stdout, stderr

    def settle(self) -> None:
        """Keep what the tails do not say in full, and only that. Raises OSError, as on a full disk."""
        try:
            if not all(self._whole):
                self.publish()
                self.hold_to_limit()
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
        for file in self._files:
            os.close(file.descriptor)

    def emptied(self) -> Descriptors:
        """The files for another run, which saves the folder the work: only when they never had a name."""
        for file in self._files:
            if os.fstat(file.descriptor).st_size:
                os.ftruncate(file.descriptor, 0)
        return self.descriptors


def paths(folder: str, job_id: str, run: int) -> tuple[str, str]:
    """Where a run's stdout and stderr are, if they were kept."""
    return os.path.join(folder, job_id, f"{run}.stdout"), os.path.join(folder, job_id, f"{run}.stderr")


def cut_mark(size: int) -> str:
    """What stands in the place of `size` bytes that were cut."""
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
    place = os.path.join(folder, job_id)
    with suppress(OSError):
        if not is_id(job_id):
            return  # it would lead out of the folder
        for name in os.listdir(place):
            os.unlink(os.path.join(place, name))
        os.rmdir(place)


def text_of(raw: bytes, *, cut: bool = False) -> str:
    """Output as event text: UTF-8 or U+FFFD, no NUL. `cut`: the start may be the middle of a character."""
    if cut:
        while raw and 0x80 <= raw[0] < 0xC0:
            raw = raw[1:]
    return raw.decode("utf-8", "replace").replace("\0", "�")


def next_data(descriptor: int, position: int) -> int:
    """The next place from `position` on that is not in a hole; `position` itself when there is none."""
    with suppress(OSError):
        return os.lseek(descriptor, position, os.SEEK_DATA)
    return position


@cache
def _libc() -> Any:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return libc


def _copy(source: int, target: int, start: int, end: int) -> None:
    while start < end and (chunk := os.pread(source, min(_COPY, end - start), start)):
        start += os.write(target, chunk)


def _last_bytes(descriptor: int) -> tuple[bytes, int]:
    size = os.fstat(descriptor).st_size
    return (os.pread(descriptor, TAIL, max(0, size - TAIL)) if size else b""), size
