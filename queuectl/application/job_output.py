"""The output of a job: read from its output file, or from the event of the run's end if there is no file.

Output is bytes, and it is passed on as it was printed. To clean it for a terminal or a page is the caller's work.
"""

import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from queuectl.application.queue import Queue
from queuectl.domain import events as e
from queuectl.domain.machine import LIVE
from queuectl.errors import NoSuchJobError
from queuectl.process import output_files as output
from queuectl.runtime import pause
from queuectl.units import counted

__all__ = ["CHUNK", "Piece", "read_output"]

CHUNK = 1 << 16
"""The most bytes of a piece that comes from a file."""
POLL = 50_000
"""Microseconds between two looks at a file that is followed."""
_ENDS = (e.Completed, e.RetryScheduled, e.DeadLettered, e.Released, e.Cancelled)


class Piece(NamedTuple):
    """The next bytes of one stream of a run."""

    run: int
    stream: str
    data: bytes
    is_last: bool = False
    """Whether the stream has ended with this piece."""
    is_tail: bool = False
    """Whether this is at most the last 4 KiB of the output: there is no file here that has more."""
    whole_on: str | None = None
    """The other host whose file may have the whole output."""


def read_output(
    queue: Queue, job_id: str, run: int | None = None, *, streams: Sequence[str] = output.STREAMS, follow: bool = False
) -> Iterator[Piece | None]:
    """The output of a run (None: the newest), piece by piece.

    `follow`: wait for more until the run has ended, or, without `run`, until the job has. Between two looks, 50 ms
    apart, comes a None, so that the caller can see whether anyone still reads. Raises NoSuchJobError for a run that
    has not begun yet.
    """
    job = queue.store.log.load(job_id)
    if job is not None and run is not None and run > job.run:
        raise NoSuchJobError(f"job {job_id} has no run {run}: it ran {counted(job.run, 'time')} so far")
    return _pieces(queue, job_id, run, [_Stream(queue, job_id, each) for each in streams], follow)


def _pieces(
    queue: Queue, job_id: str, run: int | None, streams: Sequence["_Stream"], follow: bool
) -> Iterator[Piece | None]:
    try:
        yield from _read(queue, job_id, run, streams, follow)
    finally:  # the run may not have ended, and the caller may stop reading before it has
        for stream in streams:
            stream.close()


def _read(
    queue: Queue, job_id: str, run: int | None, streams: Sequence["_Stream"], follow: bool
) -> Iterator[Piece | None]:
    number = run
    while (job := queue.store.log.load(job_id)) is not None:
        number = number or max(1, job.run)
        began = job.run >= number
        ended = began and (number < job.run or job.claim is None)
        for stream in streams if began else ():
            yield from stream.rest(number) if ended else stream.new(number)
        if ended and follow and run is None and (number < job.run or job.state in LIVE):
            number += 1
        elif ended or not follow or job.state not in LIVE:
            return
        yield None
        pause(POLL)


class _Stream:
    """One stream of a job, run after run."""

    def __init__(self, queue: Queue, job_id: str, name: str) -> None:
        self._queue, self._job_id, self._name = queue, job_id, name
        self._file: BinaryIO | None = None

    def new(self, run: int) -> Iterator[Piece]:
        """The output of the run since the last call."""
        self._file = self._file or self._open(run)
        # Not what comes meanwhile: a job that prints fast, or that prints its own output, would never end this.
        end = os.fstat(self._file.fileno()).st_size if self._file else 0
        while self._file and (data := _next_chunk(self._file, end)):
            yield Piece(run, self._name, data)

    def rest(self, run: int) -> Iterator[Piece]:
        """The rest of an ended run. Without a file it is the tail in the run's event."""
        yield from self.new(run)
        if self._file is None:
            yield self._tail(run)
        else:
            self.close()
            yield Piece(run, self._name, b"", is_last=True)

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, run: int) -> BinaryIO | None:
        folder = self._queue.store.location.output_folder
        path = output.paths(folder, self._job_id, run)[output.STREAMS.index(self._name)]
        try:
            return open(path, "rb", buffering=0)
        except OSError:
            return None

    def _tail(self, run: int) -> Piece:
        data, host = b"", None
        for record in self._queue.store.log.records(stream_id=self._job_id):
            if isinstance(record.event, e.Claimed) and record.event.run == run:
                host = record.event.host
            if isinstance(record.event, _ENDS) and record.event.run == run:
                data = str(getattr(record.event, self._name)).encode()
        # a tail may begin in the middle of a character, which is left out
        is_tail = len(data) > output.TAIL - 4
        elsewhere = host if is_tail and host != os.uname().nodename else None
        return Piece(run, self._name, data, is_last=True, is_tail=is_tail, whole_on=elsewhere)


def _next_chunk(file: BinaryIO, end: int) -> bytes:
    """The next bytes before `end`; a mark in the place of those that were removed from the middle."""
    here = file.tell()
    there = output.next_data(file.fileno(), here)
    file.seek(there)
    if there > here:
        return output.cut_mark(there - here).encode()
    return file.read(min(CHUNK, max(0, end - here)))
