"""How reading commands print what they found: as text for people, or in a format for programs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer
from msgspec import Struct

from queuectl.cli.messages import say
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.render.formats import FOR_PEOPLE, FORMATS, formatted
from queuectl.render.terminal import clean, wrapped
from queuectl.units import quoted

__all__ = [
    "Answer",
    "Look",
    "Output",
    "OutputOptions",
    "PastOptions",
    "form_of",
    "look",
    "print_answer",
    "print_for_programs",
    "print_line",
    "print_long",
]


Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FORMAT", help=f"{', '.join(FORMATS)} [default: table]."),
]


class Look(Struct, frozen=True):
    """How text for people may look: the terminal's width (None: as wide as need be, whole ids) and colour."""

    width: int | None
    color: bool


class Answer(Struct, frozen=True, kw_only=True):
    """The result of a reading command.

    `document` is its JSON, `rows` what the other formats for programs print, `name` the column that `-o name` prints.
    `text` makes the text for people, and `note` is a line after it, such as how much was left out.
    """

    document: Any
    rows: Sequence[Mapping[str, Any]]
    name: str
    text: Callable[[Look], str]
    note: str = ""


class OutputOptions(Struct, frozen=True):
    """The options of every reading command: the format."""

    output: Output = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False

    def form(self, session: Session) -> str:
        """The format that they, or QUEUECTL_OUTPUT, ask for. Raises UsageError."""
        return form_of(session, self.output, self.as_json)


class PastOptions(Struct, frozen=True):
    """The options of reading commands that can show the past."""

    shape: OutputOptions = OutputOptions()
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="POSITION|TIME",
            help="Show it as it was at this position or time (12, head, -2h, 'yesterday 14:00').",
        ),
    ] = None

    def form(self, session: Session) -> str:
        """The format that they, or QUEUECTL_OUTPUT, ask for. Raises UsageError."""
        return self.shape.form(session)


def form_of(session: Session, output: str | None, as_json: bool) -> str:
    """The format that `-o`, `--json` or QUEUECTL_OUTPUT ask for. Raises UsageError."""
    if as_json and output not in (None, "json"):
        raise UsageError(f"--json and -o {output}: give one of them")
    form, origin = ("json", "--json") if as_json else (output, "-o")
    if form is None:
        form, origin = session.variable("QUEUECTL_OUTPUT") or "table", "QUEUECTL_OUTPUT"
    if form not in FORMATS:
        raise UsageError(f"{origin} {form or quoted(form)}: the formats are {', '.join(FORMATS)}")
    return form


def print_long(session: Session, form: str, answer: Answer) -> None:
    """Print an answer as `print_answer` does, in a pager when it is longer than the terminal."""
    from queuectl.cli.pager import paged

    with paged(session):
        print_answer(session, form, answer)


def print_answer(session: Session, form: str, answer: Answer) -> None:
    """Print an answer on stdout, and its note on stderr."""
    if form in FOR_PEOPLE:
        text = answer.text(look(session, form))
        if text:
            print(text)
        if answer.note:
            say(answer.note)
        return
    print_for_programs(form, answer.document, answer.rows, answer.name)


def print_for_programs(form: str, document: Any, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """Print the document, or its rows, in a format for programs. `name` is the column that `-o name` prints."""
    for line in formatted(form, document, rows, name):
        print(line)


def print_line(shown: Look, line: str, indent: str = "  ") -> None:
    """Print a line for people, broken between words to fit the terminal; `indent` goes before its further lines."""
    print(wrapped(clean(line, newlines=False), shown.width, indent))


def look(session: Session, form: str) -> Look:
    """How this format looks on this stdout."""
    return Look(None if form == "wide" else session.width, session.color)
