"""`logs`: prints what a job printed; with -f, as it is printed."""

import codecs
import os
import sys
from typing import Annotated, TextIO

import typer

from queuectl.application.job_output import CHUNK, Piece, read_output
from queuectl.application.own_job import own_jobs
from queuectl.application.wait import unserved_queues
from queuectl.cli.messages import say, say_unserved
from queuectl.cli.options import Id, between
from queuectl.cli.session import Session
from queuectl.render.terminal import clean, complete

__all__ = ["logs"]


def logs(
    ctx: typer.Context,
    job_id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the job has ended.")] = False,
    run: Annotated[
        int | None, typer.Option(metavar="N", callback=between(1), help="Print this run [default: the newest].")
    ] = None,
    stderr: Annotated[bool, typer.Option("--stderr", help="Print only stderr, on stdout.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print the bytes unchanged, even on a terminal.")] = False,
) -> None:
    """Print a job's output: its stdout on stdout, its stderr on stderr."""
    session: Session = ctx.obj
    both = {"stdout": _Printer(sys.stdout, raw), "stderr": _Printer(sys.stderr, raw)}
    printers = {"stderr": both["stdout"]} if stderr else both
    with session.open_read_only(missing="refuse") as queue:
        (found,) = queue.resolve([job_id])
        if follow and found in own_jobs(queue, os.environ):
            say(f"queuectl: job {found} runs this command and would wait for itself: not following it")
            follow = False
        if follow:
            say_unserved(unserved_queues(queue, [found]))
        for piece in read_output(queue, found, run, streams=tuple(printers), follow=follow):
            if piece is not None:
                printers[piece.stream].print(piece)
    for printer in printers.values():
        printer.end()


class _Printer:
    """Prints pieces of one stream; on a terminal, as clean text."""

    def __init__(self, to: TextIO, raw: bool) -> None:
        self._to, self._raw = to, raw or not to.isatty()
        self._begin()

    def _begin(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def print(self, piece: Piece) -> None:
        """Print a piece, and, when it is the last one, whatever was held back."""
        if self._raw:
            self._to.buffer.write(piece.data)
        else:
            self._emit(self._decoder.decode(piece.data))
        if piece.whole_on is not None:
            tail = f"only the last 4 KiB of {piece.stream} are here"
            say(f"{tail}: the rest is on {piece.whole_on}, where the job ran")
        if piece.is_last:
            self.end()
        self._to.flush()

    def end(self) -> None:
        """Print what was held back. Another run may follow."""
        self._emit(self._decoder.decode(b"", final=True), final=True)
        self._begin()
        self._to.flush()

    def _emit(self, text: str, *, final: bool = False) -> None:
        """Print all but an incomplete terminal sequence at the end, which the next piece may complete."""
        whole, rest = complete(self._held + text)
        if final or len(rest) > CHUNK:
            whole, rest = whole + rest, ""
        self._held = rest
        self._to.write(clean(whole))
