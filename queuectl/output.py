"""What a job prints goes to files, not pipes: `<folder>/<job>/<run>.stdout` and `.stderr`.

The last 4 KiB are the tail that the event carries; a file whose whole text is in the tail is not kept.
"""

import os
from contextlib import suppress

__all__ = ["STREAMS", "TAIL", "close", "create", "paths", "remove", "tail", "text_of"]

TAIL = 4096
"""Bytes of each stream that the event of a run's end carries."""

STREAMS = ("stdout", "stderr")


def paths(folder: str, job_id: str, run: int) -> tuple[str, str]:
    """Where a run's stdout and stderr are, if they were kept."""
    return tuple(os.path.join(folder, job_id, f"{run}.{stream}") for stream in STREAMS)  # type: ignore[return-value]


def create(folder: str, job_id: str, run: int) -> tuple[int, int]:
    """Descriptors of a run's two files, new and open for appending (0600)."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    stdout, stderr = paths(folder, job_id, run)
    with suppress(FileExistsError):
        os.mkdir(os.path.join(folder, job_id), 0o700)
    return os.open(stdout, flags, 0o600), os.open(stderr, flags, 0o600)


def close(folder: str, job_id: str, run: int, descriptors: tuple[int, int]) -> tuple[str, str]:
    """Close a run's files and give their tails; those that say no more than the tail are removed."""
    tails = []
    for descriptor, path in zip(descriptors, paths(folder, job_id, run), strict=True):
        raw, size = _last_bytes(descriptor)
        text = text_of(raw, cut=size > len(raw))
        if size == len(raw) and text.encode() == raw:
            with suppress(OSError):
                os.unlink(path)
        os.close(descriptor)
        tails.append(text)
    with suppress(OSError):
        os.rmdir(os.path.join(folder, job_id))
    return tails[0], tails[1]


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
        for name in os.listdir(place):
            os.unlink(os.path.join(place, name))
        os.rmdir(place)


def text_of(raw: bytes, *, cut: bool = False) -> str:
    """Output as event text: UTF-8 or U+FFFD, no NUL. `cut`: the start may be the middle of a character."""
    if cut:
        while raw and 0x80 <= raw[0] < 0xC0:
            raw = raw[1:]
    return raw.decode("utf-8", "replace").replace("\0", "�")


def _last_bytes(descriptor: int) -> tuple[bytes, int]:
    size = os.fstat(descriptor).st_size
    return (os.pread(descriptor, TAIL, max(0, size - TAIL)) if size else b""), size
