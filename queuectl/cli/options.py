"""Options and arguments that several commands share, and the functions that read them."""

import sys
from collections.abc import Callable
from typing import Annotated

import msgspec
import typer

from queuectl.application.listing import Selection
from queuectl.errors import UsageError
from queuectl.render.formats import FORMATS
from queuectl.runtime import Clock
from queuectl.units import parse_time

__all__ = [
    "ID_HELP",
    "MAX",
    "AsOf",
    "AtMost",
    "Batch",
    "DryRun",
    "Filters",
    "Id",
    "Ids",
    "Json",
    "Limit",
    "MaybeIds",
    "Output",
    "Queues",
    "Reason",
    "Settings",
    "Signature",
    "Since",
    "Spread",
    "States",
    "Tags",
    "Yes",
    "between",
    "given_ids",
    "moment",
    "parse_tag",
    "selection",
]

ID_HELP = "A job: its id, number, the beginning or end of its id, or `last`."
IDS_HELP = "Jobs: ids, numbers, beginnings or ends of ids, `last`, or - for stdin. If one is wrong, nothing is done."

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FORMAT", help=f"{', '.join(FORMATS)} [default: table]."),
]
Id = Annotated[str, typer.Argument(metavar="ID", help=ID_HELP)]
Ids = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help=IDS_HELP),
]
MaybeIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help=IDS_HELP),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="POSITION|TIME",
        help="Show it as it was at this position or time (12, head, -2h, 'yesterday 14:00').",
    ),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="A reason, which `history` shows.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

States = Annotated[list[str] | None, typer.Option("--state", "-s", metavar="STATE", help="Only jobs in this state.")]
Queues = Annotated[list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="Only jobs of this queue.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="K=V", help="Only jobs with this tag.")]
Batch = Annotated[str | None, typer.Option("--batch", metavar="NAME", help="Only jobs of this batch.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Only jobs added since this time (-2h, monday, 09:00).")
]


class Filters(msgspec.Struct, frozen=True):
    """The options that select jobs in every command. (`--state` is apart: dead jobs have one state.)"""

    queue: Queues = None
    tag: Tags = None
    since: Since = None
    batch: Batch = None


MAX = (1 << 63) - 1
"""The largest number that an option takes: the largest that a column of the stores can hold."""


def between(low: int, high: int = MAX) -> Callable[[int | None], int | None]:
    """A check that a number is in a range. typer has one too, but it prints the range in the help."""

    def check(value: int | None) -> int | None:
        if value is not None and not low <= value <= high:
            what = f"at least {low}" if value < low else f"at most {high}"
            raise typer.BadParameter(f"{value} is out of range: it must be {what}")
        return value

    return check


Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        "-n",
        callback=between(0),
        metavar="N",
        help="At most N jobs; 0: all [default: 50; with --json 0].",
    ),
]

AtMost = Annotated[
    int | None,
    typer.Option(
        "--limit", "-n", callback=between(1), metavar="N", help="At most N of the selected jobs, the oldest first."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the jobs first: timeout=1h, env.TZ=UTC."),
]
Spread = Annotated[
    str | None, typer.Option(metavar="10m", help="Make the selected jobs due one after the other over this time.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the ids of the jobs, and change nothing.")]
Signature = Annotated[
    str | None, typer.Option("--sig", metavar="SIG", help="Only dead jobs with this signature (see `failures`).")
]


def given_ids(ids: list[str] | None) -> list[str]:
    """The ids as written, with those that stdin has in the place of `-`."""
    words = list[str]()
    for each in ids or ():
        words += _stdin_words() if each == "-" else [each]
    if ids and not words:
        raise UsageError("stdin has no ids")
    return words


def _stdin_words() -> list[str]:
    try:
        text = sys.stdin.read()
        text.encode()
    except UnicodeError:
        raise UsageError("stdin has ids that are not UTF-8 text") from None
    return text.split()


def selection(
    clock: Clock, filters: Filters, states: list[str] | None = None, signature: str | None = None
) -> Selection:
    """The jobs that the filters, `--state` and `--sig` select. Raises UsageError."""
    return Selection(
        states=tuple(states or ()),
        queues=tuple(filters.queue or ()),
        tags=dict(map(parse_tag, filters.tag or ())),
        since=moment(clock, filters.since),
        batch=filters.batch,
        signature=None if signature is None else _signature(signature),
    )


def _signature(text: str) -> str:
    from queuectl.application.failures import check_signature

    return check_signature(text)


def parse_tag(text: str) -> tuple[str, str]:
    """The key and the value of a `--tag`. Raises UsageError."""
    key, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"--tag {text}: write it as NAME=VALUE")
    return key, value


def moment(clock: Clock, since: str | None, option: str = "--since") -> int | None:
    """The moment that an option means; None without it. Raises UsageError."""
    try:
        return None if since is None else parse_time(since, clock.now())
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
