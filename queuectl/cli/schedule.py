"""`schedule`: recurring jobs, by a cron expression in a time zone or by an interval."""

import os
from typing import Annotated, Any

import typer
from msgspec import Struct
from msgspec.structs import asdict
from typer.core import TyperCommand

from queuectl.application.job_input import JobReader
from queuectl.application.job_json import JobInput
from queuectl.application.queue import Queue
from queuectl.application.schedule_input import ScheduleInput, ScheduleReader, check_name
from queuectl.application.schedule_views import next_times, words
from queuectl.application.schedules import Put, Schedules
from queuectl.cli.app import new_app
from queuectl.cli.job_options import JobOptions
from queuectl.cli.messages import confirm, print_added, print_made, say
from queuectl.cli.option_records import with_records
from queuectl.cli.options import Yes
from queuectl.cli.schedule_files import import_crontab, sync
from queuectl.cli.schedule_views import history, list_schedules, moment_of, next_slots, show
from queuectl.cli.session import Session
from queuectl.domain.schedule import Schedule
from queuectl.errors import UsageError, command_line
from queuectl.runtime import caller_umask
from queuectl.units import counted

__all__ = ["app"]

app = new_app(help="Recurring jobs: add schedules, look at them, change them.", no_args_is_help=True)

_ARGV = "queuectl.argv"
SHOWN = 3
"""The next times that `add` prints."""

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Schedules. If one is wrong, nothing is done.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


class AddCommand(TyperCommand):
    """Separates a program after `--` from the options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the arguments after the first `--` away before the options are read."""
        if "--" in args:
            place = args.index("--")
            ctx.meta[_ARGV] = args[place + 1 :]
            args = args[:place]
        return super().parse_args(ctx, args)


class WhenOptions(Struct, frozen=True):
    """When a schedule runs, under the names that ScheduleInput has; CRON is an argument."""

    every: Annotated[
        str | None, typer.Option(metavar="15m", help="Run at this interval of elapsed time, instead of CRON.")
    ] = None
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="With --every: count the interval from here [default: now].")
    ] = None
    tz: Annotated[
        str | None, typer.Option("--tz", metavar="ZONE", help="The time zone of CRON [default: this machine's].")
    ] = None
    overlap: Annotated[
        str | None,
        typer.Option(
            metavar="skip|queue|allow",
            help="While an earlier job is not over: skip, wait for it, or run both [default: skip].",
        ),
    ] = None
    catch_up: Annotated[
        str | None,
        typer.Option(metavar="latest|all|none", help="Which missed times run once a worker is back [default: latest]."),
    ] = None
    catch_up_within: Annotated[
        str | None, typer.Option(metavar="1d", help="Times that are missed for longer are skipped [default: 1d].")
    ] = None
    grace: Annotated[
        str | None,
        typer.Option(metavar="60s", help="A run that is late by less than this is not missed [default: 60s]."),
    ] = None
    spread: Annotated[
        str | None,
        typer.Option(
            metavar="10m", help="Delay each run by a fixed time up to this, which depends on the name [default: 0s]."
        ),
    ] = None
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Run no more after this.")] = None


@app.command("add", cls=AddCommand)
@with_records
def add(
    ctx: typer.Context,
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME [CRON] COMMAND|-- PROGRAM",
            help="A name; five cron fields in quotes, or @daily, unless --every is given; and the job.",
            show_default=False,
        ),
    ],
    *,
    when: WhenOptions,
    paused: Annotated[bool, typer.Option("--paused", help="Add it paused.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Change the schedule if there is one already.")] = False,
    options: JobOptions,
) -> None:
    """Add a schedule. Any worker adds its jobs in time.

    Without a worker nothing is added.

    queuectl schedule add backup '0 2 * * *' --tz Europe/Berlin 'restic backup /srv'
    """
    argv: list[str] | None = ctx.meta.get(_ARGV)
    called, cron, command = _sorted(arguments, argv, when.every)
    written = ScheduleInput(cron=cron, **asdict(when))
    job = options.input(os.environ)
    session: Session = ctx.obj
    _read(session, None, called, written, (job, command, argv))  # an error makes no queue
    with session.open() as opened:
        put = _read(session, opened, called, written, (job, command, argv), paused=paused, say_notes=True)
        schedule = Schedules(opened).add(put, change=replace)
        unserved = not any(each.slots for each in opened.store.workers.rows())
    _say_added(session, schedule)
    if unserved:
        say(f"nothing is added while no worker runs: {command_line('run')}")


def _sorted(arguments: list[str], argv: list[str] | None, every: str | None) -> tuple[str, str | None, str | None]:
    """The name, the cron expression and the command among the arguments. Raises UsageError."""
    wanted = 1 + (every is None) + (argv is None)
    if len(arguments) != wanted:
        between = "" if every is not None else " a cron expression in quotes ('0 2 * * *'),"
        raise UsageError(
            f"{counted(len(arguments), 'word')}: give a NAME,{between} and a COMMAND in quotes or -- PROGRAM"
        )
    name, rest = arguments[0], arguments[1:]
    cron = rest.pop(0) if every is None else None
    return check_name(name), cron, rest[0] if rest else None


def _read(
    session: Session,
    queue: Queue | None,
    name: str,
    when: ScheduleInput,
    written: tuple[JobInput, str | None, list[str] | None],
    *,
    paused: bool = False,
    say_notes: bool = False,
) -> Put:
    """The schedule as written. Raises UsageError."""
    defaults, command, argv = written
    now = session.clock.now()
    jobs = JobReader(session.config(queue), now, defaults, caller_umask())
    job = jobs.from_text(command) if command is not None else jobs.from_input(JobInput(argv=tuple(argv or ())))
    if job.id is not None:
        raise UsageError("a schedule's jobs get their ids from the schedule: leave the id out")
    reader = ScheduleReader(now, queue.store.log.log_id if queue else "", os.environ)
    put = Put(name, reader.definition(name, when, job.spec), paused)
    for note in [*jobs.notes, *reader.notes] if say_notes else ():
        say(f"queuectl: {note}")
    return put


def _say_added(session: Session, schedule: Schedule) -> None:
    definition = schedule.definition
    print_made(schedule.name, f"added schedule {schedule.name}")
    say(f"{schedule.name}: {words(definition)}")
    if schedule.paused_at is not None:
        say(f"it is paused: {command_line('schedule', 'resume', schedule.name)}")
    for time in next_times(definition, session.clock.now(), SHOWN):
        say(f"next {time.replace('T', ' ')}")


@app.command("run")
def run(ctx: typer.Context, schedule: Name) -> None:
    """Add a job of a schedule now, and print its id. Its times stay as they are."""
    with ctx.obj.open_existing() as queue:
        job_id, is_new = Schedules(queue).run(schedule)
    if not is_new:
        say(f"nothing was added: {job_id} has the unique key of the schedule's jobs")
    print_added([job_id])


@app.command("pause")
def pause(ctx: typer.Context, schedules: Names) -> None:
    """Add no more jobs until `resume`. The times in between are skipped."""
    with ctx.obj.open_existing() as queue:
        _say_each(schedules, Schedules(queue).pause(schedules), "paused", "was paused already")


@app.command("resume")
def resume(ctx: typer.Context, schedules: Names) -> None:
    """Add jobs again."""
    with ctx.obj.open_existing() as queue:
        _say_each(schedules, Schedules(queue).resume(schedules), "resumed", "was not paused")


def _say_each(names: list[str], changed: list[str], done: str, otherwise: str) -> None:
    for name in names:
        say(f"{name} {done if name in changed else otherwise}")


@app.command("remove")
def remove(ctx: typer.Context, schedules: Names) -> None:
    """Remove schedules. Their jobs and their history stay."""
    with ctx.obj.open_existing() as queue:
        Schedules(queue).remove(schedules)
    say(f"removed {counted(len(schedules), 'schedule')}; the jobs that were added stay")


@app.command("backfill")
def backfill(
    ctx: typer.Context,
    schedule: Name,
    first: Annotated[str, typer.Option("--from", metavar="TIME", help="The first time.")],
    last: Annotated[
        str, typer.Option("--to", metavar="TIME", show_default=False, help="The last time [default: now].")
    ] = "now",
    yes: Yes = False,
) -> None:
    """Add the jobs of past times that have made none. Asks first."""
    session: Session = ctx.obj
    now = session.clock.now()
    start, end = (moment_of(option, text, now) for option, text in (("--from", first), ("--to", last)))
    if start > end:
        raise UsageError("--from is after --to: there is nothing to add")
    if end > now:
        raise UsageError("--to is in the future: those times come by themselves")
    with session.open_existing() as queue:
        found = Schedules(queue)
        missing, ran = found.missing(schedule, start, end)
        others = f" ({ran} others have made one already)" if ran else ""
        if not missing:
            say(f"nothing to add{others}")
            return
        confirm(f"add {counted(len(missing), 'job')} of {schedule}{others}", yes)
        ids = found.backfill(schedule, missing)
    print_added(ids)


app.command("list")(list_schedules)
app.command("show")(show)
app.command("history")(history)
app.command("next")(next_slots)
app.command("sync")(sync)
app.command("import-crontab")(import_crontab)
