"""`logs`: prints what a job printed; with -f, as it is printed."""

import codecs
import os
import sys
from collections import deque
from typing import Annotated, TextIO

import typer

from queuectl.application.job_ids import begun_last
from queuectl.application.job_output import CHUNK, Piece, read_output
from queuectl.application.own_job import own_jobs
from queuectl.application.queue import Queue
from queuectl.application.wait import unserved_queues
from queuectl.cli.messages import say, say_unserved
from queuectl.cli.options import ID_HELP, between, given_ids
from queuectl.cli.pager import paged
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.render.rewritten_lines import RewrittenLines
from queuectl.render.terminal import complete

__all__ = ["logs", "print_output"]


LogIds = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help=f"{ID_HELP[:-1]} [default: the run that began last].")
]


def logs(
    ctx: typer.Context,
    ids: LogIds = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the job has ended.")] = False,
    run: Annotated[
        int | None, typer.Option(metavar="N", callback=between(1), help="Print this run [default: the newest].")
    ] = None,
    at_most: Annotated[
        int | None,
        typer.Option("--lines", "-n", callback=between(0), metavar="N", help="Only the last N lines of each stream."),
    ] = None,
    stderr: Annotated[bool, typer.Option("--stderr", help="Print only stderr, on stdout.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print the bytes unchanged, even on a terminal.")] = False,
) -> None:
    """Print the output of jobs: stdout on stdout, stderr on stderr."""
    session: Session = ctx.obj
    with session.open_read_only(missing="refuse") as queue:
        found = queue.resolve(given_ids(ids)) if ids else [begun_last(queue.store)]
        if run is not None and len(found) > 1:
            raise UsageError("--run goes with one ID")
        if follow:
            say_unserved(unserved_queues(queue, found))
        with paged(session, wanted=not (follow or raw)):
            for job_id in found:
                if len(found) > 1 or not ids:
                    _name(queue, job_id)
                if stderr:
                    _say_merged(queue, job_id)
                if not follow and run is None:
                    _say_no_run(queue, job_id)
                waits = follow and not _is_own(queue, job_id)
                print_output(queue, job_id, run=run, follow=waits, only_stderr=stderr, raw=raw, at_most=at_most)


def _is_own(queue: Queue, job_id: str) -> bool:
    """Whether the job runs this command. It would wait for itself, which is said on stderr."""
    if job_id not in own_jobs(queue, os.environ):
        return False
    say(f"queuectl: job {job_id} runs this command and would wait for itself: not following it")
    return True


def _say_no_run(queue: Queue, job_id: str) -> None:
    """Say why there is no output, if the job has not begun to run."""
    job = queue.store.log.load(job_id)
    if job is not None and not job.run:
        say(f"job {job_id} has not run: it is {job.state}")


def _say_merged(queue: Queue, job_id: str) -> None:
    """Say why there is no stderr, if the job was added with `--merge-output`."""
    job = queue.store.log.load(job_id)
    if job is not None and job.spec.merge_output:
        say(f"job {job_id}: its stderr is in its stdout (--merge-output): leave out --stderr")


def _name(queue: Queue, job_id: str) -> None:
    """Name the job on stderr, after what was printed before."""
    sys.stdout.flush()
    row = queue.store.tables.job(job_id)
    command = f": {row['command']}" if row else ""
    say(f"job {job_id}{command}")


def print_output(
    queue: Queue,
    job_id: str,
    *,
    run: int | None = None,
    follow: bool = False,
    only_stderr: bool = False,
    raw: bool = False,
    at_most: int | None = None,
) -> None:
    """Print a run's output (None: the newest run's), its stderr on stderr unless that is all that is wanted.

    `at_most`: only the last lines of each stream that are there at the first look.
    """
    out, err = (_Printer(stream, raw, at_most, live=follow) for stream in (sys.stdout, sys.stderr))
    printers = {"stderr": out} if only_stderr else {"stdout": out, "stderr": err}
    for piece in read_output(queue, job_id, run, streams=tuple(printers), follow=follow):
        if piece is not None:
            printers[piece.stream].print(piece)
        else:
            for printer in printers.values():
                printer.end_tail()
    for printer in printers.values():
        printer.end()


def _say_tail(piece: Piece) -> None:
    """Say that there is no more of the output here, and who may have it. Output of just 4 KiB may be whole."""
    tail = f"these are the last 4 KiB of {piece.stream}"
    if piece.whole_on is None:
        say(f"{tail}: no output file on this host has more of it")
    else:
        say(f"{tail}: if there is more of it, that is on {piece.whole_on}, where the job ran")


class _Printer:
    """Prints pieces of one stream; on a terminal, as clean text."""

    def __init__(self, to: TextIO, raw: bool, at_most: int | None, *, live: bool) -> None:
        self._to, self._raw = to, raw or not to.isatty()
        self._tail = None if at_most is None else _Tail(at_most)
        self._lines = RewrittenLines(live=live)
        self._begin()

    def _begin(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def print(self, piece: Piece) -> None:
        """Print a piece, and, when it is the last one, whatever was held back."""
        if self._tail is not None:
            self._tail.take(piece.data)
        else:
            self._write(piece.data)
        if piece.is_last:
            self.end()
        self._to.flush()
        if piece.is_tail:
            _say_tail(piece)

    def _write(self, data: bytes) -> None:
        if self._raw:
            self._to.buffer.write(data)
        else:
            self._emit(self._decoder.decode(data))

    def end_tail(self) -> None:
        """Print the last lines of what has come so far; what comes from now on is printed whole."""
        if self._tail is not None:
            data, self._tail = self._tail.lines(), None
            self._write(data)
            self._to.flush()

    def end(self) -> None:
        """Print what was held back. Another run may follow."""
        self.end_tail()
        self._emit(self._decoder.decode(b"", final=True), final=True)
        self._begin()
        self._to.flush()

    def _emit(self, text: str, *, final: bool = False) -> None:
        """Print all but an incomplete terminal sequence at the end, which the next piece may complete."""
        whole, rest = complete(self._held + text)
        if final or len(rest) > CHUNK:
            whole, rest = whole + rest, ""
        self._held = rest
        self._to.write(self._lines.take(whole))
        if final:
            self._to.write(self._lines.end())


class _Tail:
    """Keeps the last lines of bytes that come in pieces."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._lines: deque[bytes] = deque(maxlen=number)
        self._rest = b""

    def take(self, data: bytes) -> None:
        """The next piece."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(line + b"\n" for line in whole)

    def lines(self) -> bytes:
        """The last lines, an unfinished one too."""
        if self._rest:
            self._lines.append(self._rest)
        return b"".join(self._lines)
