"""Messages for people, on stderr: a line, a question, jobs that a bulk move left. On stdout: names of what was made."""

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from stat import S_IFIFO, S_IFMT, S_IFREG

import typer

from queuectl.errors import OutputError, QueuectlError, RefusedError, UsageError, command_line
from queuectl.units import counted

__all__ = [
    "confirm",
    "end_line",
    "note_unread_stdin",
    "print_added",
    "print_made",
    "refuse_left",
    "say",
    "say_left_alone",
    "say_unserved",
]

SHOWN = 10
"""The most ids that an error lists one by one."""


def say(message: str) -> None:
    """Print a message on stderr: one line, which a terminal gets broken between words."""
    from queuectl.render.terminal import clean, terminal_width, wrapped  # most commands have nothing to say

    print(wrapped(clean(message, newlines=False), terminal_width(sys.stderr), "  "), file=sys.stderr)


def end_line() -> None:
    """Begin a new line after the `^C` that a terminal shows for Ctrl-C, so that the prompt does not stand behind it."""
    if sys.stderr.isatty():
        print(file=sys.stderr)


def print_added(ids: Sequence[str]) -> None:
    """Print the ids of added jobs on stdout. Raises OutputError, which names them, if it cannot be written to."""
    if ids:
        print_made("\n".join(ids), f"added {_named(ids)}")


def print_made(names: str, done: str) -> None:
    """Print the names of what was made. Raises OutputError, which says what was done, if they cannot be printed."""
    try:
        print(names, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{done}, but cannot write to stdout: {error.strerror}") from None


def _named(ids: Sequence[str]) -> str:
    if len(ids) == 1:
        return f"job {ids[0]}"
    shown = ", ".join(ids) if len(ids) <= SHOWN else f"{ids[0]} to {ids[-1]}"
    return f"{len(ids)} jobs ({shown})"


def say_left_alone(ids: Sequence[str]) -> None:
    """Say, after Ctrl-C, that the command no longer waits for these jobs, and how to cancel them."""
    end_line()
    one = len(ids) == 1
    cancel = command_line("cancel", ids[0] if one else "ID")
    say(f"stopped waiting for {_named(ids)} (to cancel {'it' if one else 'one'}: `{cancel}`)")


def say_unserved(queues: Collection[str]) -> None:
    """Say that no worker serves these queues, in which jobs wait. Say nothing when there are none."""
    if queues:
        from queuectl.render.hints import unserved_line

        say(unserved_line())


def note_unread_stdin(*, is_used: bool) -> None:
    """Say it when the caller gives input that is not used. A terminal and /dev/null are no input."""
    with suppress(OSError):
        if not is_used and (kind := S_IFMT(os.fstat(0).st_mode)) in (S_IFIFO, S_IFREG):
            from queuectl.cli.unread_stdin import note_given

            note_given(is_pipe=kind == S_IFIFO)


def confirm(what: str, yes: bool) -> None:
    """Ask before a bulk move. Raises UsageError when stdin is no terminal, Exit when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{what}? There is no terminal to answer on: add --yes")
    print(f"{what}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        say("nothing done")
        raise typer.Exit(1)


def refuse_left(left: Mapping[str, QueuectlError], thing: str, what: str) -> None:
    """Name the jobs that a bulk move could not change. Raises RefusedError if there are any."""
    for error in left.values():
        say(f"left: {error}")
    if left:
        raise RefusedError(f"{counted(len(left), thing)} {what}")
