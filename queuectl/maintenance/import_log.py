"""Imports an exported log into an empty queue, or reads its events without a queue.

An event is accepted only if its digest follows from the event before it.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import IO, cast

from queuectl.domain.events import RecordedEvent
from queuectl.domain.names import is_id, is_stream
from queuectl.errors import QueuectlError, RefusedError, StoreError, UsageError
from queuectl.maintenance.chain import Progress
from queuectl.store import file_of, is_postgres
from queuectl.store.codec import check_follows, decode
from queuectl.store.errors import DamagedEventError, VersionConflictError
from queuectl.store.ndjson import MAX_LINE, Header, read_event, read_header
from queuectl.store.protocol import Store
from queuectl.store.rows import Head, StoredEvent
from queuectl.units import quoted

__all__ = ["import_log", "new_file_remover", "read_log", "reading"]

_NUL = r"(?<!\\)(?:\\\\)*\\u0000"
"""The NUL character in JSON. After a backslash it would be six other characters."""


def import_log(
    store: Store, file: Iterable[bytes], progress: Progress, give_up: Callable[[], None] = lambda: None
) -> Head:
    """Append a whole log to an empty queue, or nothing. Returns the head, which is the same as in the source.

    `give_up` is called on failure, while the log's lock is still held. Raises UsageError with the number of the wrong
    line, RefusedError when the queue has events.
    """
    with store.writer.transaction():
        if store.log.head().position > store.log.base.position:
            raise RefusedError("the queue is not empty: import into a new one (--db PATH)")
        try:
            return _import_lines(store, enumerate(file, 1), progress)
        except BaseException:
            give_up()
            raise


def _import_lines(store: Store, lines: Iterator[tuple[int, bytes]], progress: Progress) -> Head:
    header = _header(lines)
    store.writer.adopt(header.log_id, header.base)
    try:
        store.writer.append_stored(_events(lines, header, progress))
    except VersionConflictError as error:
        raise UsageError("not a valid log: two events conflict") from error
    except DamagedEventError as error:
        line = error.position - header.base.position + 1
        raise UsageError(_damaged_at(line, error)) from error
    return store.log.head()


def new_file_remover(url: str) -> Callable[[], None]:
    """A function that removes the queue file that a failed import made, but not one that existed before."""
    if is_postgres(url) or os.path.lexists(path := file_of(url)):
        return lambda: None
    folder = os.path.dirname(path)
    folders = [] if os.path.isdir(folder) else [folder]

    def remove() -> None:
        for ending in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(path + ending)
        for each in folders:
            with suppress(OSError):
                os.rmdir(each)

    return remove


def _header(lines: Iterator[tuple[int, bytes]]) -> Header:
    header = _header_at(*next(lines, (1, b"")))
    if not is_id(header.log_id):  # the archive's folders are named after it
        raise UsageError(f"line 1: {quoted(header.log_id)} is not a log id")
    return header


def _events(lines: Iterator[tuple[int, bytes]], header: Header, progress: Progress) -> Iterator[StoredEvent]:
    previous, number = header.base, 1
    for number, line in lines:
        try:
            row = _event(line)
            check_follows(row, previous)
            _check_texts(row)
        except DamagedEventError as error:
            raise UsageError(_damaged_at(number, error)) from error
        except ValueError as error:
            raise UsageError(f"the file is damaged at line {number}: {error}") from error
        yield row
        previous = Head(row.position, row.digest, row.recorded_at)
        progress(row.position)
    if why := _wrong_end(header, previous):
        raise UsageError(f"line {number + 1}: {why}")


def _damaged_at(line: int, error: DamagedEventError) -> str:
    return f"the file is damaged at line {line}: event {error.position} of {error.stream_id}: {error.why}"


def _check_texts(row: StoredEvent) -> None:
    """Check ids and texts: a digest proves what was written, not that it is valid. Raises ValueError."""
    if row.data is not None and re.search(_NUL, row.data):
        raise ValueError("a text in it holds a NUL character")
    if not is_stream(row.stream_id):
        raise ValueError(f"{quoted(row.stream_id)} is not a job id")
    if not row.actor.isprintable():
        raise ValueError(f"{quoted(row.actor)} is not a valid actor")


def _wrong_end(header: Header, last: Head) -> str | None:
    """The error when a log does not end as its header says, or None."""
    if header.end is None or (header.end.position, header.end.digest) == (last.position, last.digest):
        return None
    if last.position < header.end.position:
        return f"the log was cut: it ends at event {last.position} of {header.end.position}"
    return f"the log was changed: it does not end with event {header.end.position} of its header"


def _event(line: bytes) -> StoredEvent:
    if not line.endswith(b"\n") and len(line) <= MAX_LINE:
        raise ValueError("the line was cut")
    return read_event(line)


def read_log(lines: Iterable[bytes]) -> tuple[str, Iterator[RecordedEvent]]:
    """The id and the events of an exported log, or of an archive's segments one after another.

    Raises StoreError, with the number of the line that is wrong.
    """
    numbered = enumerate(lines, 1)
    header = _header_at(*next(numbered, (1, b"")), StoreError)
    if header.base.position > 0:
        raise StoreError(f"line 1: the log begins after event {header.base.position}: pass the log from its beginning")
    return header.log_id, _records(numbered, header)


def _records(lines: Iterator[tuple[int, bytes]], header: Header) -> Iterator[RecordedEvent]:
    previous = header.base
    for number, line in lines:
        if line.startswith(b'{"queuectl"'):
            header = _next_header(number, line, previous, header.log_id)
            continue
        try:
            record = decode(_event(line), previous.digest)
        except DamagedEventError as error:
            raise StoreError(f"the log is damaged at line {number}: event {error.position}: {error.why}") from error
        except ValueError as error:
            raise StoreError(f"the log is damaged at line {number}: {error}") from error
        yield record
        previous = Head(record.position, record.digest, record.recorded_at)
    if why := _wrong_end(header, previous):
        raise StoreError(why)


def _next_header(number: int, line: bytes, previous: Head, log_id: str) -> Header:
    """The header of the next segment, which must follow from the end of the one before it."""
    header = _header_at(number, line, StoreError)
    if header.log_id != log_id or header.base.digest != previous.digest:
        raise StoreError(f"line {number}: a segment of another log, or one segment is missing before it")
    return header


def _header_at(number: int, line: bytes, wrong: type[QueuectlError] = UsageError) -> Header:
    try:
        return read_header(line)
    except ValueError as error:
        raise wrong(f"line {number}: {error}") from error


@contextmanager
def reading(path: str, stdin: IO[bytes]) -> Iterator[Iterable[bytes]]:
    """The lines of a file to import: `-` is stdin; a compressed file is recognised by its first bytes.

    A line longer than any event is read in pieces, so that a file that is not a log cannot fill the memory.
    """
    try:
        with nullcontext(stdin) if path == "-" else open(path, "rb") as file:
            yield _lines(_unpacked(file))
    except (EOFError, OSError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _lines(file: IO[bytes]) -> Iterable[bytes]:
    return iter(lambda: file.readline(MAX_LINE + 1), b"")


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    import io

    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file))
    if buffered.peek(2)[:2] != b"\x1f\x8b":
        return buffered
    import gzip

    return cast(IO[bytes], gzip.GzipFile(fileobj=buffered))
