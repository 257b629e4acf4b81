"""`--watch`: draws a command's answer again whenever the queue has changed, until Ctrl-C."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TypeAlias

import typer
from msgspec import Struct
from typer.core import TyperCommand

from queuectl.application.queue import Queue
from queuectl.cli.output import Answer, PastOptions, look, print_answer, print_long
from queuectl.cli.session import Session
from queuectl.errors import INTERRUPTED, UsageError, command_line
from queuectl.render.formats import FOR_PEOPLE
from queuectl.runtime import pause
from queuectl.units import SECOND, format_duration, local_time, parse_duration

__all__ = ["Watch", "WatchCommand", "WatchOptions", "answer_or_watch"]

Watch: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--watch", metavar="[INTERVAL]", help="Redraw on changes, at most this often [default: 1s], until Ctrl-C."
    ),
]


class WatchOptions(Struct, frozen=True):
    """The options of reading commands that can be watched."""

    watch: Watch = None
    past: PastOptions = PastOptions()

    @property
    def live(self) -> bool:
        """Whether they ask for the present."""
        return self.past.as_of is None

    def form(self, session: Session) -> str:
        """The format that they, or QUEUECTL_OUTPUT, ask for. Raises UsageError."""
        return self.past.form(session)


USUAL = "1s"
LEAST = SECOND // 10
POLL = SECOND // 20
TICK = 2 * SECOND
"""Microseconds until a picture is drawn again although nothing has happened: ages and waits grow by themselves."""

_OTHER_SCREEN, _BACK = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""The second screen without a cursor, where longer lines are cut; and back to the first."""
_HOME, _REST, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


class WatchCommand(TyperCommand):
    """A command whose `--watch` may stand without an interval."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare `--watch` the usual interval."""
        following = [*args[1:], "-"][: len(args)]
        pairs = zip(args, following, strict=True)
        usual = f"--watch={USUAL}"
        return super().parse_args(
            ctx, [usual if (word, after[:1]) == ("--watch", "-") else word for word, after in pairs]
        )


def answer_or_watch(
    session: Session, ask: Callable[[Queue], Answer], options: WatchOptions, *, long: bool = False
) -> None:
    """Print the answer of the queue, or with `--watch` draw it until Ctrl-C. `long`: use a pager.

    Raises UsageError.
    """
    form, as_of = options.form(session), options.past.as_of
    if options.watch is not None:
        _watch(session, form, ask, _interval(session, options.watch, form, as_of))
    with session.open_read_only(as_of) as queue:
        answer = ask(queue)
    (print_long if long else print_answer)(session, form, answer)


def _interval(session: Session, text: str, form: str, as_of: str | None) -> int:
    """The least time between two pictures in microseconds. Raises UsageError."""
    try:
        wanted = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--watch: {error}") from None
    if wanted < LEAST:
        raise UsageError(f"--watch {text}: the shortest interval is {format_duration(LEAST)}")
    if form not in FOR_PEOPLE or as_of is not None:
        raise UsageError("--watch draws the queue of now for people: leave out --as-of, --json and -o")
    if session.width is None:
        raise UsageError(f"--watch needs a terminal: `{command_line('events', '-f')}` follows the queue in a pipe")
    return wanted


def _watch(session: Session, form: str, ask: Callable[[Queue], Answer], interval: int) -> NoReturn:
    """Draw the answer, and again after each change. Raises Exit at Ctrl-C."""
    with session.open_read_only(missing="refuse") as queue:
        sys.stdout.write(_OTHER_SCREEN)
        try:
            while True:
                _draw_until_changed(session, form, ask, interval, queue)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        finally:
            sys.stdout.write(_BACK)
            sys.stdout.flush()


def _draw_until_changed(
    session: Session, form: str, ask: Callable[[Queue], Answer], interval: int, queue: Queue
) -> None:
    """Draw one picture and wait until another is due. A window of another size is filled at once."""
    queue.store.workers.changed()
    size = os.get_terminal_size(sys.stdout.fileno())
    _draw(_lines(session, form, ask(queue), interval), size)
    drawn = session.clock.monotonic()
    while size == os.get_terminal_size(sys.stdout.fileno()):
        shown_for = session.clock.monotonic() - drawn
        if shown_for >= interval and (shown_for >= TICK or queue.store.workers.changed()):
            return
        pause(POLL)


def _lines(session: Session, form: str, answer: Answer, interval: int) -> list[str]:
    head = f"{local_time(session.clock.now())}  redrawn on changes, at most every {format_duration(interval)}"
    return [head, "", *filter(None, [*answer.text(look(session, form)).split("\n"), answer.note])]


def _draw(lines: list[str], size: os.terminal_size) -> None:
    """Fill the screen with the lines, as far as it has room for them."""
    if len(lines) > size.lines:
        lines = [*lines[: size.lines - 1], f"… {len(lines) - size.lines + 1} more lines"]
    # Each line is emptied first: after a line of the whole width that would erase its last character.
    before, last = [f"{_REST}{line}" for line in lines[:-1]], f"{_BELOW}{lines[-1]}"
    sys.stdout.write(_HOME + "\r\n".join([*before, last]))
    sys.stdout.flush()
