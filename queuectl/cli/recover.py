"""`recover`: rebuilds a damaged or lost database."""

from typing import Annotated

import typer
from msgspec import to_builtins

from queuectl.cli.messages import say
from queuectl.cli.option_records import with_records
from queuectl.cli.output import Look, OutputOptions, look, print_for_programs, print_line
from queuectl.cli.progress_bar import progress
from queuectl.cli.session import Session
from queuectl.errors import UsageError, command_line
from queuectl.maintenance import recover as recovery
from queuectl.maintenance.chain import head_text
from queuectl.maintenance.old_files import copies_and_size
from queuectl.render.formats import FOR_PEOPLE
from queuectl.units import counted, format_size

__all__ = ["recover"]

SHOWN = 10
"""The most ranges printed on a line."""


@with_records
def recover(
    ctx: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Rebuild the database even if nothing is damaged.")] = False,
    *,
    options: OutputOptions,
) -> None:
    """Rebuild a damaged or deleted database from its archive.

    It also uses what is left of the database. Old files are kept.
    Nothing is changed when database and archive are sound. Exit code 1 if any event is lost.
    """
    session: Session = ctx.obj
    if session.url.is_on_server:
        raise UsageError("recover works on a SQLite file: give its path with --db")
    form = options.form(session)
    path = session.url.file
    try:
        with progress("checking", hidden=form not in FOR_PEOPLE) as reached:
            report = recovery.recover(path, session.clock, session.access.store_options(), reached, force=force)
    except recovery.NothingToRecoverError as sound:
        if form not in FOR_PEOPLE:
            _print_for_programs(form, sound.report)
        raise
    if form in FOR_PEOPLE:
        _print_report(look(session, form), report)
        _say_copies(path)
    else:
        _print_for_programs(form, report)
    if report.lost:
        raise typer.Exit(1)


def _print_for_programs(form: str, report: recovery.Report) -> None:
    shown = {
        "position": report.head.position,
        "digest": report.head.digest.hex(),
        "kept": report.kept,
        "restored": report.restored,
        "lost": report.lost,
        "lost_jobs": to_builtins(report.lost_jobs),
        "old_files": report.aside,
        "old_archive": report.archive_aside,
    }
    print_for_programs(form, shown, [shown], "position")


def _print_report(shown: Look, report: recovery.Report) -> None:
    for what, ranges in (
        ("kept from the database", report.kept),
        ("restored from the archive", report.restored),
        ("lost", report.lost),
    ):
        print(f"{what + ':':<27}{_counted(ranges)}")
    _print_lost_jobs(shown, report)
    print(f"head: {head_text(report.head)}")
    if any(job.gone for job in report.lost_jobs):
        say(f"if a job that is gone is still wanted, add it: {command_line('enqueue')} COMMAND")
    if report.aside:
        say(f"the old files are in {report.aside}")
    if report.archive_aside:
        say(f"the old archive, which does not match, is in {report.archive_aside}")


def _print_lost_jobs(shown: Look, report: recovery.Report) -> None:
    """All of them: the next call cannot say it again."""
    for job in report.lost_jobs:
        what = "is gone" if job.gone else f"lost its last events ({', '.join(job.events)})"
        command = "No copy shows its command" if job.command is None else f"Its command: {job.command}"
        print_line(shown, f"  job {job.id} {what}. {command}", "    ")


def _say_copies(path: str) -> None:
    """We never remove a copy: it may have the only trace of an event."""
    copies, size = copies_and_size(path)
    if copies > 1:
        what = f"{copies} copies of old files take {format_size(size)}"
        say(f"{what}: remove those that you do not need ({path}.damaged-*)")


def _counted(ranges: recovery.Ranges) -> str:
    total = sum(last - first + 1 for first, last in ranges)
    named = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges[:SHOWN])
    more = ", …" if ranges[SHOWN:] else ""
    return counted(total, "event") + (f" ({named}{more})" if total else "")
