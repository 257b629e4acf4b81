"""`schedule sync FILE.toml` and `schedule import-crontab FILE`: schedules defined in a file."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from queuectl.application.crontab import CronEntry, named, read_crontab
from queuectl.application.job_input import JobReader
from queuectl.application.job_json import JobInput
from queuectl.application.queue import Queue
from queuectl.application.schedule_file import Difference, compare, read_schedules, to_toml
from queuectl.application.schedule_input import ScheduleReader
from queuectl.application.schedules import Put, Schedules
from queuectl.cli.messages import say
from queuectl.cli.session import Session
from queuectl.domain.events import ScheduleSet
from queuectl.domain.schedule import Schedule
from queuectl.errors import UsageError
from queuectl.runtime import caller_umask
from queuectl.units import counted, format_duration

__all__ = ["import_crontab", "sync"]

MOST_BYTES = 16 << 20
"""Bytes of a file of schedules; a device such as /dev/zero has no end."""

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would change, and change nothing.")]


def sync(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE.toml", help="The file with all the schedules that it manages.")],
    dry_run: DryRun = False,
) -> None:
    """Make the schedules those of a file, all or none. Others stay.

    [backup]  cron = "0 2 * * *"  tz = "Europe/Berlin"  command = "restic backup /srv"
    """
    session: Session = ctx.obj
    text = _read(file)
    name = os.path.basename(file)

    def compared(queue: Queue) -> tuple[Difference, dict[str, Schedule]]:
        there = {each.name: each for each in queue.store.schedules.all()}
        reader = _schedule_reader(session, queue)
        puts = read_schedules(text, file, reader, lambda defaults: _job_reader(session, queue, defaults), there)
        for note in reader.notes:
            session.warn(note)
        return compare(puts, there, name), there

    with session.open_read_only(missing="accept") as queue:  # an error makes no queue
        difference, there = compared(queue)
    if not dry_run and not difference.is_empty:
        with session.open() as queue, queue.store.writer.transaction():
            difference, there = compared(queue)
            Schedules(queue).apply(difference.puts, difference.removed)
    for line in _lines(difference, there):
        print(line)
    say(_summary(difference, dry_run))


def _lines(difference: Difference, there: Mapping[str, Schedule]) -> Iterator[str]:
    for put in difference.added:
        yield f"+ {put.name}: {_when(put.definition)} $ {put.definition.job.command}"
    for put, fields in difference.changed:
        before = there[put.name].definition
        yield f"~ {put.name}: {', '.join(_change(field, before, put.definition) for field in fields)}"
    for name in difference.removed:
        yield f"- {name}: {_when(there[name].definition)} $ {there[name].definition.job.command}"


def _when(definition: ScheduleSet) -> str:
    if definition.every is not None:
        return f"every {format_duration(definition.every)}"
    return f"{definition.cron} ({definition.tz})"


def _change(field: str, old: ScheduleSet, new: ScheduleSet) -> str:
    if not hasattr(old, field) and not hasattr(old.job, field):
        return field
    before, after = (
        getattr(each if hasattr(each, field) else each.job, field)
        for each in (old, new)
    )  # fmt: skip
    return f"{field} {before!r} → {after!r}"


def _summary(difference: Difference, dry_run: bool) -> str:
    if difference.is_empty:
        return "nothing to change"
    parts = [
        f"{len(found)} {word}"
        for word, found in (
            ("added", difference.added),
            ("changed", difference.changed),
            ("removed", difference.removed),
        )
        if found
    ]
    return f"{'would be: ' if dry_run else ''}{', '.join(parts)}"


def import_crontab(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A crontab, as `crontab -l` prints it (-: stdin).")],
    tz: Annotated[
        str | None, typer.Option("--tz", metavar="ZONE", help="The zone of the times [default: this machine's].")
    ] = None,
    system: Annotated[
        bool, typer.Option("--system", help="A user stands before each command, as in /etc/crontab.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out the lines that cannot be carried over.")
    ] = False,
    as_toml: Annotated[bool, typer.Option("--toml", help="Print a file for `schedule sync`, and add nothing.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Add the entries of a crontab, all or none. Entries that are schedules already are left out.

    Lines that cannot be carried over are named.
    """
    session: Session = ctx.obj
    text = _read(file)
    with session.open_read_only(missing="accept") as queue:
        there = {each.name: each for each in queue.store.schedules.all()}
        with_users = system or file.startswith(("/etc/crontab", "/etc/cron.d/"))
        found = read_crontab(text, with_users=with_users, taken=set(there))
    for line in [*found.notes, *(f"not carried over, {each}" for each in found.refused)]:
        say(line)
    if found.refused and not partial:
        what = f"{counted(len(found.refused), 'line')} cannot be carried over"
        raise UsageError(f"{what}: nothing was added (--partial adds the others)")
    if as_toml:
        _print_toml(found.entries, tz)
        return
    _add_entries(session, _new_entries(session, found.entries, tz, there), tz, dry_run)


def _new_entries(
    session: Session, entries: Sequence[CronEntry], tz: str | None, there: Mapping[str, Schedule]
) -> list[CronEntry]:
    """The entries that are not schedules yet, so that a file that was corrected can be imported again."""
    known = {_rule(each.definition): name for name, each in there.items()}
    new = []
    for entry, put in zip(entries, _puts(session, None, entries, tz), strict=True):  # an error makes no queue
        if name := known.get(_rule(put.definition)):
            say(f"line {entry.line}: schedule {name} is this entry already")
        else:
            new.append(entry)
    return list(named(new, set(there)))


def _rule(definition: ScheduleSet) -> tuple[Any, ...]:
    """When, and the command with its folder and variables: all that a line of a crontab says."""
    job = definition.job
    return definition.cron, definition.tz, job.command, job.argv, job.cwd, tuple(sorted(job.env.items()))


def _print_toml(entries: Sequence[CronEntry], tz: str | None) -> None:
    print(to_toml([(entry.name, dict(_toml_fields(entry, tz))) for entry in entries]), end="")


def _toml_fields(entry: CronEntry, tz: str | None) -> Iterator[tuple[str, Any]]:
    yield "cron", entry.when.cron
    if zone := entry.when.tz or tz:
        yield "tz", zone
    for name, value in _job_of(entry).items():
        if value:
            yield name, value


def _job_of(entry: CronEntry) -> dict[str, Any]:
    """The fields of an entry's job."""
    run = {"argv": [entry.shell, "-c", entry.command]} if entry.shell else {"command": entry.command}
    return {**run, "cwd": entry.cwd, "env": entry.env or None}


def _add_entries(session: Session, entries: Sequence[CronEntry], tz: str | None, dry_run: bool) -> None:
    puts = _puts(session, None, entries, tz)
    if not dry_run and entries:
        with session.open() as queue:
            puts = _puts(session, queue, entries, tz)
            Schedules(queue).apply(puts)
    for put in puts:
        print(f"{put.name}: {_when(put.definition)} $ {put.definition.job.command}")
    say(f"{'would add' if dry_run else 'added'} {counted(len(puts), 'schedule')}")


def _puts(session: Session, queue: Queue | None, entries: Sequence[CronEntry], tz: str | None) -> list[Put]:
    reader = _schedule_reader(session, queue)
    home = JobInput(cwd=os.path.expanduser("~"))
    puts = []
    for entry in entries:
        when = entry.when if entry.when.tz or tz is None else replace(entry.when, tz=tz)
        given = {name: value for name, value in _job_of(entry).items() if value is not None}
        job = _job_reader(session, queue, home).from_input(JobInput(**given))
        try:
            puts.append(Put(entry.name, reader.definition(entry.name, when, job.spec)))
        except UsageError as error:
            raise UsageError(f"line {entry.line}: {error}") from None
    return puts


def _schedule_reader(session: Session, queue: Queue | None) -> ScheduleReader:
    return ScheduleReader(session.clock.now(), queue.store.log.log_id if queue else "", os.environ)


def _job_reader(session: Session, queue: Queue | None, defaults: JobInput) -> JobReader:
    return JobReader(session.config(queue), session.clock.now(), defaults, caller_umask())


def _read(file: str) -> str:
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with open(file, "rb") as opened:
                raw = opened.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise UsageError(f"{file} is larger than {MOST_BYTES >> 20} MiB: it is no list of schedules")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8") from None
