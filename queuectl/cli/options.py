"""Options and arguments that several commands share, and the functions that read them."""

import sys
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import typer

from queuectl.application.job_fields import batch as batch_name
from queuectl.application.job_fields import check_queue, text
from queuectl.application.listing import Selection
from queuectl.application.overview import SHOWN_STATES
from queuectl.errors import UsageError
from queuectl.runtime import Clock
from queuectl.units import parse_time, quoted

__all__ = [
    "FILTERS",
    "ID_HELP",
    "MAX",
    "AtMost",
    "DryRun",
    "Filters",
    "Id",
    "Ids",
    "JobFilters",
    "Labels",
    "Limit",
    "LogFile",
    "MaybeIds",
    "MoveOptions",
    "Reason",
    "Settings",
    "Signature",
    "Spread",
    "States",
    "Yes",
    "between",
    "given_ids",
    "how_many",
    "moment",
    "note_left_out",
    "parse_tag",
    "shown_at_most",
]

ID_HELP = "A job: its id, number, the beginning or end of its id, or `last`."
IDS_HELP = "Jobs: ids, numbers, beginnings or ends of ids, `last`, or - for stdin. If one is wrong, nothing is done."

Id = Annotated[str, typer.Argument(metavar="ID", help=ID_HELP)]
Ids = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help=IDS_HELP),
]
MaybeIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help=IDS_HELP),
]
Reason = Annotated[
    str,
    typer.Option(metavar="TEXT", callback=lambda given: text("reason", given), help="A reason, which `history` shows."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

States = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        "-s",
        metavar="STATE",
        help=f"Only jobs in this state: {', '.join(SHOWN_STATES)}, failed (retrying or dead), retrying or held.",
    ),
]
Queues = Annotated[list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="Only jobs of this queue.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="K=V", help="Only jobs with this tag.")]
Batch = Annotated[str | None, typer.Option("--batch", metavar="NAME", help="Only jobs of this batch.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Only jobs added since this time (-2h, monday, 09:00).")
]


class Labels(msgspec.Struct, frozen=True):
    """The options that select jobs by what they were given."""

    queue: Queues = None
    tag: Tags = None
    batch: Batch = None

    def selection(self, **others: Any) -> Selection:
        """The jobs that these options select, with `others`: more fields of a Selection. Raises UsageError."""
        return Selection(
            queues=tuple(map(check_queue, self.queue or ())),
            tags=dict(map(parse_tag, self.tag or ())),
            batch=None if self.batch is None else batch_name(self.batch),
            **others,
        )


class Filters(msgspec.Struct, frozen=True):
    """The options that select jobs in every command. (`--state` is apart: dead jobs have one state.)"""

    labels: Labels = Labels()
    since: Since = None

    def selection(self, clock: Clock, **others: Any) -> Selection:
        """The jobs that these options select, with `others`: more fields of a Selection. Raises UsageError."""
        return self.labels.selection(since=moment(clock, self.since), **others)


class JobFilters(msgspec.Struct, frozen=True):
    """The same, and `--state`."""

    state: States = None
    filters: Filters = Filters()

    def selection(self, clock: Clock, **others: Any) -> Selection:
        """The jobs that these options select, with `others`: more fields of a Selection. Raises UsageError."""
        return self.filters.selection(clock, states=tuple(self.state or ()), **others)


FILTERS = tuple(f"--{name}" for name in (*Labels.__struct_fields__, "since"))
"""The names of the options of `Filters`."""


class MoveOptions(msgspec.Struct, frozen=True):
    """The options of commands that move many jobs at once."""

    reason: Reason = ""
    yes: Yes = False


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


def how_many(*names: str, most: int, what: str) -> Any:
    """An option for a number from 1 to `most`, 1 if it is not given. The range is in its help, after `what`."""
    return typer.Option(
        *names,
        callback=between(1, most),
        metavar="N",
        show_default=False,
        help=f"{what} (1 to {most}) [default: 1].",
    )


LogFile = Annotated[str | None, typer.Option(hidden=True)]
"""The log file of a worker in the background, passed on by whoever started it there."""


def at_most(what: str) -> Any:
    """An option for the greatest number of lines; `what` is its help."""
    return typer.Option("--limit", "-n", callback=between(0), metavar="N", help=what)


Limit = Annotated[int | None, at_most("At most N jobs; 0: all [default: 50; with --json 0].")]

SHOWN = 50
"""Jobs that are listed for people when no --limit is given."""


def shown_at_most(limit: int | None, people: bool) -> int:
    """How many jobs to list; 0: all."""
    return limit if limit is not None else SHOWN if people else 0


def note_left_out(shown: int, found: int) -> str:
    """A note that a list is not complete, if it is not."""
    return f"{shown} of {found} (--limit 0: all)" if found > shown else ""


AtMost = Annotated[
    int | None,
    typer.Option(
        "--limit",
        "-n",
        callback=between(0),
        metavar="N",
        help="At most N of the selected jobs, the oldest first; 0: all [default: 0].",
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


def _signature(text: str | None) -> str | None:
    if text is None:
        return None
    from queuectl.application.failures import check_signature  # the patterns of signatures take 4 ms to compile

    return check_signature(text)


Signature = Annotated[
    str | None,
    typer.Option(
        "--sig", metavar="SIG", callback=_signature, help="Only dead jobs with this signature (see `failures`)."
    ),
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


def parse_tag(text: str) -> tuple[str, str]:
    """The key and the value of a `--tag`. Raises UsageError."""
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise UsageError(f"--tag {text or quoted(text)}: write it as NAME=VALUE")
    return key, value


def moment(clock: Clock, since: str | None, option: str = "--since") -> int | None:
    """The moment that an option means; None without it. Raises UsageError."""
    try:
        return None if since is None else parse_time(since, clock.now())
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
