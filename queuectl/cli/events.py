"""`events`: prints the log as a table or as NDJSON; with -f also new events as they come."""

import sys
from collections import deque
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from queuectl.application.follow import Examined, LogReader, follow
from queuectl.application.listing import any_filter
from queuectl.application.membership import Members
from queuectl.application.queue import Queue
from queuectl.application.time_travel import position_at
from queuectl.cli.messages import say
from queuectl.cli.option_records import with_records
from queuectl.cli.options import MAX, Labels, States, between, moment
from queuectl.cli.output import Output, form_of, look
from queuectl.cli.pager import paged
from queuectl.cli.session import Session
from queuectl.domain import events as e
from queuectl.errors import UsageError, command_line
from queuectl.render import json_shapes
from queuectl.render.formats import FOR_PEOPLE, formatted
from queuectl.render.job_rows import short_id
from queuectl.render.narrative import summary
from queuectl.render.terminal import clean, to_ndjson, wrapped
from queuectl.units import local_time

__all__ = ["events"]

TYPES = [e.type_of(event) for event in e.EVENT_TYPES]
WIDE, NARROW = "{:>8}  {:25}  {:36}  {:16}  {}  ({})", "{0:>6}  {1:25}  {2:12}  {4}  ({5})"
"""The second one is for terminals narrower than `ENOUGH`: the type is left out, as the sentence says it too."""
ENOUGH = 120
INDENT = " " * 8
COLUMNS = ("position", "stream_id", "version", "type", "schema", "recorded_at", "actor", "data", "digest", "damaged")


@with_records
def events(
    ctx: typer.Context,
    *,
    first: Annotated[
        int | None, typer.Option("--from", callback=between(1), metavar="N", help="Only events from this position on.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--to", callback=between(0), metavar="N", help="Only events up to this position.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--type", "-t", metavar="TYPE", help="Only events of this type.")
    ] = None,
    job: Annotated[str | None, typer.Option(metavar="ID", help="Only events of this job.")] = None,
    state: States = None,
    labels: Labels,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only events recorded since this time, of jobs of any age.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only events recorded up to this time.")
    ] = None,
    at_most: Annotated[
        int | None,
        typer.Option("--limit", "-n", callback=between(0), metavar="N", help="Only the last N; 0: all [default: 0]."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep running and print new events as they come.")
    ] = False,
    output: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print NDJSON: one event a line.")] = False,
) -> None:
    """Print the event log. Each line: position, time, stream, type, what happened, and who did it.

    --state, --queue and --tag select jobs as they are now. --queue and --batch alone also select the notes on those.
    """
    session: Session = ctx.obj
    for each in kind or ():
        if each not in TYPES:
            raise UsageError(f"--type {each}: the types are {', '.join(TYPES)}")
    if follow and state:
        raise UsageError("--state selects jobs as they are now: leave out --follow")
    wanted = any_filter(labels.selection(states=tuple(state or ())))
    since_moment, until_moment = moment(session.clock, since), moment(session.clock, until, "--until")
    form = form_of(session, output, as_json)
    lines = _Lines(form, at_most or 0, look(session, form).width)
    with session.open_to_follow() if follow else session.open_read_only() as queue, paged(session, wanted=not follow):
        stream = queue.resolve([job])[0] if job is not None else None
        before = 0 if since_moment is None else position_at(queue.store.log, since_moment - 1)
        if until_moment is not None:
            last = min(last or MAX, position_at(queue.store.log, until_moment))
        is_wanted = None if wanted is None else Members(queue.store, wanted).has
        reader = LogReader(queue.store, max((first or 1) - 1, before), stream, kind or TYPES, is_wanted)
        if follow:
            _follow(queue, reader, last, lines)
        else:
            lines.print(reader.read(queue.store.log.head().position if last is None else last))


def _follow(queue: Queue, reader: LogReader, last: int | None, lines: "_Lines") -> None:
    """Print the events so far, a line that says that these are all, then new events as they come."""
    caught_up = False
    for position in follow(queue.store, last, sys.stdout.fileno()):
        lines.print(reader.read(position))
        if not caught_up and lines.form in ("json", "ndjson"):
            print(to_ndjson({"caught_up": position}), flush=True)
        elif not caught_up:
            say(f"caught up at position {position}, now following")
        caught_up = True


class _Lines:
    """Prints events in one of the formats, of the first ones only the last `limit` (0: all)."""

    def __init__(self, form: str, limit: int, width: int | None) -> None:
        self.form, self._limit, self._width = "ndjson" if form == "json" else form, limit, width
        self._headed = False

    def print(self, found: Iterable[Examined]) -> None:
        """Print these events."""
        for record in deque(found, self._limit) if self._limit else found:
            self._limit = 0
            shown = json_shapes.event(record)
            if self.form in FOR_PEOPLE:
                print(_line(shown, record, self._width))
            else:
                self._print_row(shown)
        sys.stdout.flush()

    def _print_row(self, shown: dict[str, Any]) -> None:
        is_csv = self.form == "csv"
        row = {name: shown.get(name) for name in COLUMNS} if is_csv else shown
        lines = [*formatted(self.form, shown, [row], "position")]
        print("\n".join(lines[1:] if is_csv and self._headed else lines))
        self._headed = True


def _line(shown: dict[str, Any], record: e.RecordedEvent | Exception, width: int | None) -> str:
    narrow = width is not None and width < ENOUGH
    stream = shown["stream_id"] if width is None else short_id(shown["stream_id"])
    if isinstance(record, e.RecordedEvent):
        fields = (record.position, local_time(record.recorded_at), stream, record.type, summary(record), record.actor)
    else:
        says = f"damaged: {shown['damaged']}" if narrow else shown["damaged"]
        fields = (shown["position"], "", stream, "damaged", says, command_line("verify"))
    return wrapped(clean((NARROW if narrow else WIDE).format(*fields), newlines=False), width, INDENT)
