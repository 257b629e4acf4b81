"""`schedule list|show|history|next`: the schedules, when each runs, and the outcome of its times."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from queuectl.application import schedule_views as views
from queuectl.application.schedules import Schedules
from queuectl.cli.option_records import with_records
from queuectl.cli.options import between
from queuectl.cli.output import Answer, OutputOptions, PastOptions, print_answer
from queuectl.cli.session import Session
from queuectl.domain.events import RecordedEvent
from queuectl.errors import NoSuchJobError, UsageError, command_line
from queuectl.render import json_shapes
from queuectl.render.narrative import summary
from queuectl.render.schedule_text import schedule_table, schedule_text
from queuectl.render.terminal import clean, wrapped
from queuectl.timetable import UnknownZoneError
from queuectl.units import local_time, parse_time

__all__ = ["history", "list_schedules", "moment_of", "next_slots", "show"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
MOST = 1000


@with_records
def list_schedules(ctx: typer.Context, *, options: PastOptions) -> None:
    """List schedules: the next time, the last job, how late."""
    session: Session = ctx.obj
    form = options.form(session)
    with session.open_read_only(options.as_of) as queue:
        found, now = views.rows(queue.store, live=options.as_of is None), queue.store.log.wall()
    answer = Answer(
        document=found,
        rows=found,
        name="name",
        text=lambda look: _listed(found, now, look.width) if found else "",
        note="" if found else "no schedules",
    )
    print_answer(session, form, answer)


def _listed(found: Sequence[Mapping[str, Any]], now: int, width: int | None) -> str:
    why = {f"{each['name']} is late: {each['late_why']}" for each in found if each["late"] is not None}
    return "\n".join([schedule_table(found, now, width), *sorted(why)])


@with_records
def show(ctx: typer.Context, schedule: Name, *, options: PastOptions) -> None:
    """Show one schedule: its rules, its job, its last ten times."""
    session: Session = ctx.obj
    form = options.form(session)
    with session.open_read_only(options.as_of, missing="refuse") as queue:
        found = views.details(queue.store, Schedules(queue).named(schedule), live=options.as_of is None)

    def text(width: int | None) -> str:
        return "\n".join(wrapped(clean(line, newlines=False), width, " " * 10) for line in schedule_text(found))

    print_answer(session, form, Answer(document=found, rows=[found], name="name", text=lambda look: text(look.width)))


@with_records
def history(ctx: typer.Context, schedule: Name, *, options: OutputOptions) -> None:
    """Show every event of a schedule. Works on removed schedules too."""
    session: Session = ctx.obj
    form = options.form(session)
    with session.open_read_only(missing="refuse") as queue:
        events = views.history(queue.store, schedule)
    if not events:
        raise NoSuchJobError(f"no such schedule: {schedule} (`{command_line('schedule', 'list')}` shows them)")
    shown = [json_shapes.event(event) for event in events]
    lines = [_event(event) for event in events]
    answer = Answer(document=shown, rows=shown, name="position", text=lambda look: "\n".join(lines))
    print_answer(session, form, answer)


def _event(event: RecordedEvent | Exception) -> str:
    if not isinstance(event, RecordedEvent):
        return f"#{getattr(event, 'position', '?'):<6} {clean(str(event), newlines=False)}"
    return clean(f"#{event.position:<6} {local_time(event.recorded_at)}  {summary(event)}", newlines=False)


def moment_of(option: str, text: str, now: int) -> int:
    """The moment that an option names, in microseconds. Raises UsageError, which names the option."""
    try:
        return parse_time(text, now)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


@with_records
def next_slots(
    ctx: typer.Context,
    schedule: Name,
    count: Annotated[
        int,
        typer.Option(
            "--count", "-n", callback=between(1, MOST), metavar="N", show_default=False, help="How many [default: 5]."
        ),
    ] = 5,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Those from then on, also past ones [default: now].")
    ] = None,
    *,
    options: OutputOptions,
) -> None:
    """Print the next times of a schedule, in its time zone.

    queuectl schedule next backup --from 2027-03-27     (over a change of the clocks)
    """
    session: Session = ctx.obj
    after = None if start is None else moment_of("--from", start, session.clock.now()) - 1
    form = options.form(session)
    with session.open_read_only(missing="refuse") as queue:
        named = Schedules(queue).named(schedule)
        try:
            found = views.next_times(named.definition, queue.store.log.wall() if after is None else after, count)
        except UnknownZoneError as error:
            raise UsageError(str(error)) from None
    rows = [{"next_at": each} for each in found]
    answer = Answer(
        document=found,
        rows=rows,
        name="next_at",
        text=lambda look: "\n".join(each.replace("T", " ") for each in found),
        note="it never runs again" if not found else "it is paused" if named.paused_at is not None else "",
    )
    print_answer(session, form, answer)
