"""The archive's segments: their names, and how to find and read them, torn ones included."""

import os
from collections.abc import Callable, Iterator

from queuectl.errors import StoreError, command_line
from queuectl.store.codec import check_follows
from queuectl.store.errors import DamagedEventError
from queuectl.store.ndjson import Header, read_event, read_header
from queuectl.store.rows import Head, StoredEvent

__all__ = [
    "ArchiveError",
    "DivergedError",
    "UnreachableError",
    "check_reachable",
    "ends_with_a_line",
    "first_position",
    "folder_of",
    "header_of",
    "last_event",
    "lost",
    "rows_of",
    "segment_name",
    "segments",
    "sound_end",
    "wrong_header",
]

_SUFFIX = ".ndjson"
_TAIL = 64 * 1024


class ArchiveError(StoreError):
    """The archive is damaged."""

    remedy = "queuectl recover"


class DivergedError(ArchiveError):
    """The database and the archive hold different events."""


class UnreachableError(ArchiveError):
    """The archive is a link to a folder that does not exist."""

    def __init__(self, folder: str) -> None:
        self.remedy = f"mount the disk of {os.path.realpath(folder)}, or remove {folder} to begin a new archive"
        super().__init__(f"the archive at {os.path.realpath(folder)} cannot be reached: {self.remedy}")


def folder_of(path: str) -> str:
    """The path of the archive of the database at `path`: a folder, or a link to one on another disk."""
    return f"{path}.archive"


def segments(folder: str) -> list[str]:
    """The segments' paths, in order; none without a folder."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [name for name in names if name.endswith(_SUFFIX) and name.removesuffix(_SUFFIX).isdecimal()]
    return [os.path.join(folder, name) for name in sorted(found)]


def check_reachable(folder: str) -> None:
    """Raises UnreachableError when the folder is a link to a disk that is not mounted."""
    if os.path.islink(folder) and not os.path.exists(folder):
        raise UnreachableError(folder)


def _holds_events(folder: str) -> bool:
    for path in segments(folder):
        with open(path, "rb") as file:
            if sum(1 for _ in zip(range(2), file, strict=False)) == 2:
                return True
    return False


def lost(path: str) -> StoreError | None:
    """The error to raise when there is no database at `path`, but an archive that holds its events."""
    folder = folder_of(path)
    try:
        check_reachable(folder)
    except UnreachableError as error:
        return StoreError(f"{path} is empty or missing, and {error}")
    if not _holds_events(folder):
        return None
    return StoreError(
        f"{path} is empty or missing, but {folder} holds its events: run `{command_line('recover')}` to get them back,"
        " or move that folder away to begin an empty queue"
    )


def segment_name(position: int) -> str:
    """The name of the segment whose first event has that position."""
    return f"{position:012d}{_SUFFIX}"


def ends_with_a_line(path: str) -> bool:
    """Whether a segment ends with a complete line."""
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        return file.read() == b"\n"


def first_position(path: str) -> int:
    """The position of a segment's first event, from its name."""
    return int(os.path.basename(path).removesuffix(_SUFFIX))


def header_of(file: int, path: str) -> Header | None:
    """A segment's header; None when the line is not whole. Raises ArchiveError when it is not a header."""
    line, newline, _ = os.pread(file, 4096, 0).partition(b"\n")
    try:
        return read_header(line) if newline else None
    except ValueError as error:
        raise ArchiveError(f"{path}:1: {error}: run `{command_line('recover')}`") from error


def wrong_header(path: str, line: bytes, log_id: str, digest_at: Callable[[int], bytes | None]) -> str | None:
    """The error in the header of a segment of this log, or None. `digest_at` returns None for what is not known."""
    try:
        header = read_header(line)
    except ValueError as error:
        return str(error)
    if header.log_id != log_id:
        return "it names another log"
    base, first = header.base, first_position(path)
    if base.position != first - 1:
        return f"it begins after event {base.position}, its file name says after {first - 1}"
    if digest_at(base.position) not in (None, base.digest):
        return f"its digest of event {base.position} is not the log's"
    return None


def last_event(file: int) -> tuple[Head, int] | None:
    """The last event of a segment, or the base in its header, and the length of the file up to there.

    Anything after it is torn or was never written out. None: not even the header is whole.
    """
    size, wanted = os.fstat(file).st_size, _TAIL
    while True:
        start = max(0, size - wanted)
        tail = os.pread(file, size - start, start)
        first = tail.find(b"\n") + 1 if start else 0
        found = _last_line(tail[first:]) if first or not start else None
        if found is not None:
            return found[0], start + first + found[1]
        if not start:
            return None
        wanted *= 4


def sound_end(path: str) -> tuple[Head, int]:
    """Like `last_event`, but reads every line and stops before the first that does not follow from the one before.

    Raises ArchiveError when there is no header.
    """
    with open(path, "rb") as file:
        header, line = header_of(file.fileno(), path), file.readline()
        if header is None:
            raise ArchiveError(f"{path}:1: the header is missing: run `{command_line('recover')}`")
        end, size = header.base, len(line)
        for line in file:
            if (row := _following(line, end)) is None:
                break
            end, size = Head(row.position, row.digest, 0), size + len(line)
        return end, size


def _following(line: bytes, end: Head) -> StoredEvent | None:
    try:
        row = read_event(line)
        check_follows(row, end)
    except (ValueError, DamagedEventError):
        return None
    return row if line.endswith(b"\n") else None


def rows_of(path: str) -> Iterator[StoredEvent]:
    """The events of a segment up to a torn last line."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            if number > 1:
                try:
                    yield read_event(line)
                except ValueError as error:
                    raise ArchiveError(f"{path}:{number}: {error}: run `{command_line('recover')}`") from error


def _last_line(text: bytes) -> tuple[Head, int] | None:
    """The event, or the base, in the last readable line, and the length of the text up to its end."""
    stop = text.rfind(b"\n") + 1
    while stop:
        start = text.rfind(b"\n", 0, stop - 1) + 1
        try:
            return _event_of(text[start:stop]), stop
        except ValueError:
            stop = start
    return None


def _event_of(line: bytes) -> Head:
    if line.startswith(b'{"queuectl"'):
        return read_header(line).base
    row = read_event(line)
    return Head(row.position, row.digest, 0)
