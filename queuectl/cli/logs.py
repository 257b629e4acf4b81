"""`logs`: what a job printed, from its output file or, when it was short, from its event; `-f` as it is printed."""

import codecs
import sys
from collections.abc import Iterator
from typing import Annotated, BinaryIO, TextIO

import typer

from queuectl.application.queue import Queue
from queuectl.cli.messages import say
from queuectl.cli.options import Id, between
from queuectl.cli.session import Session
from queuectl.domain import events as e
from queuectl.domain.machine import LIVE
from queuectl.errors import NoSuchJobError
from queuectl.process import output_files as output
from queuectl.render.terminal import clean, complete
from queuectl.runtime import pause

__all__ = ["logs"]

CHUNK = 1 << 16
ENDS = (e.Completed, e.RetryScheduled, e.DeadLettered, e.Released, e.Cancelled)
POLL = 50_000
"""Microseconds between two looks at a file that is followed."""


def logs(
    ctx: typer.Context,
    job_id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the job has ended.")] = False,
    run: Annotated[
        int | None, typer.Option(metavar="N", callback=between(1), help="This run [default: the newest].")
    ] = None,
    stderr: Annotated[bool, typer.Option("--stderr", help="Only its stderr, on stdout.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print the bytes unchanged also on a terminal.")] = False,
) -> None:
    """Print a job's output: its stdout on stdout, its stderr on stderr."""
    session: Session = ctx.obj
    with session.open_read_only(missing="refuse") as queue:
        (found,) = queue.resolve([job_id])
        printers = [_Printer(queue, found, "stderr", sys.stdout, raw)]
        if not stderr:
            printers = [
                _Printer(queue, found, "stdout", sys.stdout, raw),
                _Printer(queue, found, "stderr", sys.stderr, raw),
            ]
        _check_run(queue, found, run)
        for step in _print(queue, found, run, follow, printers):
            pause(step)


def _check_run(queue: Queue, job_id: str, run: int | None) -> None:
    job = queue.store.log.load(job_id)
    if job is not None and run is not None and run > job.run:
        raise NoSuchJobError(f"job {job_id} has no run {run}: it ran {job.run} times so far")


def _print(queue: Queue, job_id: str, run: int | None, follow: bool, printers: list["_Printer"]) -> Iterator[int]:
    """Print the run, or the newest one and those that follow; yields how long to wait before the next look."""
    number = run
    while (job := queue.store.log.load(job_id)) is not None:
        number = number or max(1, job.run)
        began = job.run >= number
        ended = began and (number < job.run or job.claim is None)
        for printer in printers if began else ():
            if ended:
                printer.finish(number)
            else:
                printer.advance(number, final=not follow)
        if ended and follow and run is None and (number < job.run or job.state in LIVE):
            number += 1
        elif ended or not follow or job.state not in LIVE:
            return
        yield POLL


class _Printer:
    """Prints one stream, run after run."""

    def __init__(self, queue: Queue, job_id: str, stream: str, to: TextIO, raw: bool) -> None:
        self._queue, self._job_id, self._stream, self._to = queue, job_id, stream, to
        self._raw = raw or not to.isatty()
        self._file: BinaryIO | None = None
        self._begin()

    def _begin(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def advance(self, run: int, *, final: bool = False) -> None:
        """Print what the run has printed since the last look; `final`: nothing follows."""
        self._file = self._file or self._open(run)
        while self._file and (chunk := self._next_chunk(self._file)):
            self._write(chunk)
        if final:
            self._emit(self._decoder.decode(b"", final=True), final=True)
        self._to.flush()

    def _next_chunk(self, file: BinaryIO) -> bytes:
        """The next bytes; a mark for those that were cut out of the middle."""
        here = file.tell()
        there = output.next_data(file.fileno(), here)
        file.seek(there)
        return output.cut_mark(there - here).encode() if there > here else file.read(CHUNK)

    def finish(self, run: int) -> None:
        """Print the rest of an ended run; what was short stands in its event."""
        self.advance(run)
        if self._file is None:
            tail = self._tail(run).encode()
            self._write(tail)
            self._say_where(run, len(tail))
        else:
            self._file.close()
        self._emit(self._decoder.decode(b"", final=True), final=True)
        self._file = None
        self._begin()

    def _open(self, run: int) -> BinaryIO | None:
        path = output.paths(self._queue.store.location.output_folder, self._job_id, run)[
            output.STREAMS.index(self._stream)
        ]
        try:
            return open(path, "rb", buffering=0)
        except OSError:
            return None

    def _tail(self, run: int) -> str:
        for record in self._queue.store.log.records(stream_id=self._job_id):
            if isinstance(record.event, ENDS) and record.event.run == run:
                return str(getattr(record.event, self._stream))
        return ""

    def _say_where(self, run: int, size: int) -> None:
        """The event has no more than a tail; whole files stay on the machine that ran the job."""
        if size <= output.TAIL - 4:  # a tail may begin in the middle of a character, which is left out
            return
        records = self._queue.store.log.records(stream_id=self._job_id)
        host = next((r.event.host for r in records if isinstance(r.event, e.Claimed) and r.event.run == run), "?")
        say(f"only the last 4 KiB of its {self._stream} are here: all of it is on {host}, where the job ran")

    def _write(self, chunk: bytes) -> None:
        if self._raw:
            self._to.buffer.write(chunk)
        else:
            self._emit(self._decoder.decode(chunk))

    def _emit(self, text: str, *, final: bool = False) -> None:
        """Print all but an incomplete terminal sequence at the end, which the next part may complete."""
        whole, rest = complete(self._held + text)
        if final or len(rest) > CHUNK:
            whole, rest = whole + rest, ""
        self._held = rest
        self._to.write(clean(whole))
