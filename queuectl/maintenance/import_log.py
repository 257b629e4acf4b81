"""The log out of a queue and into another, or to whoever reads it: exports, imports and backups.

An export has the archive's form, and its header says where it ends. Nothing is written or taken whose digest does
not follow from the one before it.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import IO, cast

from queuectl.domain.events import RecordedEvent
from queuectl.errors import QueuectlError, RefusedError, StoreError, UsageError
from queuectl.store import file_of, is_postgres
from queuectl.store.codec import check_follows, decode
from queuectl.store.ndjson import MAX_LINE, Header, event_line, header_line, read_event, read_header
from queuectl.store.protocol import (
    DamagedEventError,
    EventStore,
    Head,
    StoredEvent,
    VersionConflictError,
    is_id,
    is_stream,
)
from queuectl.units import quoted

__all__ = [
    "back_up",
    "chained",
    "export_log",
    "head_on_disk",
    "import_log",
    "read_log",
    "reading",
    "taker_away",
    "writing",
]

Progress = Callable[[int], None]
"""Is told the position that has been reached."""


def head_on_disk(store: EventStore) -> Head:
    """The last event known to be on disk."""
    position = store.bring_to_disk()
    row = next(store.stored(after=position - 1, until=position), None) if position > store.base.position else None
    return Head(row.position, row.digest, row.recorded_at) if row else store.base


def chained(rows: Iterable[StoredEvent], previous: Head) -> Iterator[StoredEvent]:
    """The rows, each checked to follow on the one before. Raises DamagedEventError."""
    for row in rows:
        check_follows(row, previous)
        yield row
        previous = Head(row.position, row.digest, row.recorded_at)


# ── exports and imports ─────────────────────────────────────────────────────────────────────────────────


def export_log(store: EventStore, file: IO[bytes], progress: Progress) -> Head:
    """Write the log up to the last event on disk; that event's place. Raises DamagedEventError."""
    end = head_on_disk(store)
    file.write(header_line(store.log_id, store.base, end))
    for row in chained(store.stored(until=end.position), store.base):
        file.write(event_line(row))
        progress(row.position)
    return end


def import_log(
    store: EventStore, file: Iterable[bytes], progress: Progress, give_up: Callable[[], None] = lambda: None
) -> Head:
    """Take a log into an empty queue, all or nothing; the head, which is the same as where it came from.

    `give_up` is called when it fails, while nobody else can write to the queue. Raises UsageError with the number of
    the line that is wrong, RefusedError when the queue has events.
    """
    with store.transaction():
        if store.head().position > store.base.position:
            raise RefusedError("the queue is not empty: import into a new one (--db PATH)")
        try:
            return _take(store, enumerate(file, 1), progress)
        except BaseException:
            give_up()
            raise


def _take(store: EventStore, lines: Iterator[tuple[int, bytes]], progress: Progress) -> Head:
    header = _header(lines)
    store.adopt(header.log_id, header.base)
    try:
        store.append_stored(_events(lines, header, progress))
    except VersionConflictError as error:
        raise UsageError("the file is no log of a queue: two of its events cannot both be") from error
    return store.head()


def taker_away(url: str) -> Callable[[], None]:
    """What removes the file that a queue is about to be made in; nothing when there is one, or it is in no file."""
    if is_postgres(url) or os.path.lexists(path := file_of(url)):
        return lambda: None
    folder = os.path.dirname(path)
    folders = [] if os.path.isdir(folder) else [folder]

    def take_away() -> None:
        for ending in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(path + ending)
        for each in folders:
            with suppress(OSError):
                os.rmdir(each)

    return take_away


def _header(lines: Iterator[tuple[int, bytes]]) -> Header:
    header = _header_at(*next(lines, (1, b"")))
    if not is_id(header.log_id):  # a folder of the archive may be called so
        raise UsageError(f"line 1: {quoted(header.log_id)} is no name of a log")
    return header


def _events(lines: Iterator[tuple[int, bytes]], header: Header, progress: Progress) -> Iterator[StoredEvent]:
    previous, number = header.base, 1
    for number, line in lines:
        try:
            row = _event(line)
            check_follows(row, previous)
            _check_names(row)
        except DamagedEventError as error:
            what = f"event {error.position} of {error.stream_id}: {error.why}"
            raise UsageError(f"the file is damaged at line {number}: {what}") from error
        except ValueError as error:
            raise UsageError(f"the file is damaged at line {number}: {error}") from error
        yield row
        previous = Head(row.position, row.digest, row.recorded_at)
        progress(row.position)
    if why := _other_end(header, previous):
        raise UsageError(f"line {number + 1}: {why}")


def _check_names(row: StoredEvent) -> None:
    """A digest only says that whoever wrote the file wrote them so. Raises ValueError."""
    if not is_stream(row.stream_id):
        raise ValueError(f"{quoted(row.stream_id)} is no id of a job")
    if not row.actor.isprintable():
        raise ValueError(f"{quoted(row.actor)} is no name of an actor")


def _other_end(header: Header, last: Head) -> str | None:
    """What is wrong when a log does not end as its header says."""
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
        raise StoreError(f"line 1: the log begins after event {header.base.position}: give it from its beginning")
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
    if why := _other_end(header, previous):
        raise StoreError(why)


def _next_header(number: int, line: bytes, previous: Head, log_id: str) -> Header:
    """That of a further segment, which goes on where the last one ended."""
    header = _header_at(number, line, StoreError)
    if header.log_id != log_id or header.base.digest != previous.digest:
        raise StoreError(f"line {number}: another log begins there, or a segment is missing before it")
    return header


def _header_at(number: int, line: bytes, wrong: type[QueuectlError] = UsageError) -> Header:
    try:
        return read_header(line)
    except ValueError as error:
        raise wrong(f"line {number}: {error}") from error


@contextmanager
def writing(path: str, stdout: IO[bytes]) -> Iterator[IO[bytes]]:
    """A file to export to: `-` is stdout, a name that ends in `.gz` is compressed. A file that exists is not touched.

    What fails half-way leaves no file behind.
    """
    if path == "-":
        yield stdout
        stdout.flush()
        return
    part = f"{path}.part-{os.getpid()}"
    try:
        with open(part, "xb", opener=_for_owner_alone) as raw:
            if path.endswith(".gz"):
                import gzip

                with gzip.GzipFile(os.path.basename(path).removesuffix(".gz"), "wb", 6, raw, 0) as file:
                    yield cast(IO[bytes], file)
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        _publish(part, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)


def _for_owner_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _publish(part: str, path: str) -> None:
    """Give a finished file its name, which must be free, and see that both are on disk."""
    try:
        os.link(part, path)
        os.unlink(part)  # at once: a queue that has two names is not written to
    except FileExistsError:
        raise UsageError(f"{path} exists: it is not overwritten, choose another name") from None
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def reading(path: str, stdin: IO[bytes]) -> Iterator[Iterable[bytes]]:
    """The lines of a file to import: `-` is stdin, a compressed one is known by its first bytes.

    One that is longer than any event comes in pieces: what is no log does not fill the memory.
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


# ── backups ─────────────────────────────────────────────────────────────────────────────────────────────


def back_up(store: EventStore, path: str, opened: Callable[[str], EventStore], progress: Progress) -> Head:
    """Copy the queue to a new file while workers run, and check the whole copy before it gets its name; its head.

    `opened` opens the copy. Raises UsageError when the name is taken, DamagedEventError when the log is damaged.
    """
    if os.path.lexists(path):
        raise UsageError(f"{path} exists: it is not overwritten, choose another name")
    if not os.path.isdir(folder := os.path.dirname(path) or "."):
        raise UsageError(f"there is no folder {folder}: make it first")
    part = os.path.abspath(f"{path}.part-{os.getpid()}")
    try:
        store.copy_to(part)
        head = _checked(opened(part), progress)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        _publish(part, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    except StoreError as error:
        if (why := str(error).removeprefix(f"cannot use the queue {part}: ")) == str(error):
            raise
        raise UsageError(f"cannot write {path}: {why}") from error
    finally:
        for name in (part, f"{part}-wal", f"{part}-shm", f"{part}-journal"):
            with suppress(FileNotFoundError):
                os.unlink(name)
    return head


def _checked(copy: EventStore, progress: Progress) -> Head:
    try:
        head = copy.base
        for row in chained(copy.stored(), copy.base):
            head = Head(row.position, row.digest, row.recorded_at)
            progress(row.position)
        return head
    finally:
        copy.close()
