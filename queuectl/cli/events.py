"""`events`: prints the log as a table or as NDJSON; with -f also new events as they come."""

import sys
from typing import Annotated, Any

import typer

from queuectl.application.follow import LogReader, follow
from queuectl.application.queue import Queue
from queuectl.application.time_travel import position_at
from queuectl.cli.messages import say
from queuectl.cli.options import between, moment
from queuectl.cli.session import Session
from queuectl.domain import events as e
from queuectl.errors import UsageError, command_line
from queuectl.render import json_shapes
from queuectl.render.narrative import summary
from queuectl.render.terminal import clean, to_ndjson
from queuectl.units import local_time

__all__ = ["events"]

TYPES = [e.type_of(event) for event in e.EVENT_TYPES]
LINE = "{:>8}  {:19}  {:36}  {:16}  {}  ({})"


def events(
    ctx: typer.Context,
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
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only events recorded since this time.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep running and print new events as they come.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print NDJSON: one event a line.")] = False,
) -> None:
    """Print the event log. Each line: position, time, stream, type, what happened, and who did it."""
    session: Session = ctx.obj
    for each in kind or ():
        if each not in TYPES:
            raise UsageError(f"--type {each}: the types are {', '.join(TYPES)}")
    since_moment = moment(session.clock, since)
    with session.open_to_follow() if follow else session.open_read_only() as queue:
        stream = queue.resolve([job])[0] if job is not None else None
        before = 0 if since_moment is None else position_at(queue.store, since_moment - 1)
        reader = LogReader(queue.store, max((first or 1) - 1, before), stream, kind or TYPES)
        if follow:
            _follow(queue, reader, last, as_json)
        else:
            _print(reader, queue.store.log.head().position if last is None else last, as_json)


def _follow(queue: Queue, reader: LogReader, last: int | None, as_json: bool) -> None:
    """Print the events so far, a line that says that these are all, then new events as they come."""
    caught_up = False
    for position in follow(queue.store, last, sys.stdout.fileno()):
        _print(reader, position, as_json)
        if not caught_up and as_json:
            print(to_ndjson({"caught_up": position}), flush=True)
        elif not caught_up:
            say(f"caught up at position {position}, now following")
        caught_up = True


def _print(reader: LogReader, until: int, as_json: bool) -> None:
    for record in reader.read(until):
        print(to_ndjson(json_shapes.event(record)) if as_json else _line(json_shapes.event(record), record))
    sys.stdout.flush()


def _line(shown: dict[str, Any], record: e.RecordedEvent | Exception) -> str:
    if isinstance(record, e.RecordedEvent):
        when = local_time(record.recorded_at)
        fields = (record.position, when, record.stream_id, record.type, summary(record), record.actor)
    else:
        fields = (shown["position"], "", shown["stream_id"], "damaged", shown["damaged"], command_line("verify"))
    return clean(LINE.format(*fields), newlines=False)
