"""Exports: the log as NDJSON in the archive's form, with its digests.

The header says where the log ends. An event whose digest does not follow from the one before it stops the export.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, cast

from queuectl.errors import UsageError, reason_of
from queuectl.maintenance.chain import Progress, chained, head_on_disk
from queuectl.store.ndjson import event_line, header_line
from queuectl.store.protocol import Store
from queuectl.store.rows import Head

__all__ = ["export_log", "publish", "writing"]


def export_log(store: Store, file: IO[bytes], progress: Progress) -> Head:
    """Write the log up to the last event that is on disk, and return that event. Raises DamagedEventError."""
    end = head_on_disk(store)
    file.write(header_line(store.log.log_id, store.log.base, end, store.log.format()))
    for row in chained(store.log.stored(until=end.position), store.log.base):
        file.write(event_line(row))
        progress(row.position)
    return end


@contextmanager
def writing(path: str, stdout: IO[bytes]) -> Iterator[IO[bytes]]:
    """A file to export to: `-` is stdout, a name that ends in `.gz` is compressed. An existing file is not overwritten.

    An export that fails leaves no file.
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
        publish(part, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {reason_of(error)}") from error
    finally:
        with suppress(OSError):  # fails on a read-only disk and would hide the first error
            os.unlink(part)


def _for_owner_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def publish(part: str, path: str) -> None:
    """Give a finished file its name, which must not be taken, and sync the folder."""
    try:
        os.link(part, path)
        os.unlink(part)  # now, because a queue file with two names is refused
    except FileExistsError:
        raise UsageError(f"{path} exists: it is not overwritten, choose another name") from None
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
