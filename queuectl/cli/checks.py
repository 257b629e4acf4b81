"""`verify`, `rebuild` and `doctor`: check a queue, and recompute its tables."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from msgspec import to_builtins

from queuectl.application.liveness import is_alive
from queuectl.checks.doctor import Finding, Progress, examine
from queuectl.checks.report import Problem, Report
from queuectl.checks.verify import expect, verify_job
from queuectl.checks.verify import verify as verify_all
from queuectl.cli.messages import say
from queuectl.cli.option_records import with_records
from queuectl.cli.options import between
from queuectl.cli.output import Look, OutputOptions, look, print_for_programs, print_line
from queuectl.cli.progress_bar import progress
from queuectl.cli.session import Session
from queuectl.errors import runnable
from queuectl.maintenance.rebuild import rebuild as rebuild_tables
from queuectl.render.formats import FOR_PEOPLE
from queuectl.render.terminal import clean, colored, wrapped
from queuectl.units import counted

if TYPE_CHECKING:
    from queuectl.application.access import Store

__all__ = ["doctor", "rebuild", "verify"]

DAMAGED = 1
MOST_PROCESSES = 1024
Jobs: TypeAlias = Annotated[
    int | None,
    typer.Option(
        callback=between(1, MOST_PROCESSES), metavar="N", help="Processes for a long log [default: one per core]."
    ),
]
_INDENT = " " * 9
_COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}


@with_records
def verify(
    ctx: typer.Context,
    job: Annotated[str | None, typer.Option(metavar="ID", help="Only this job's events and rows.")] = None,
    expected: Annotated[
        list[str] | None,
        typer.Option("--expect", metavar="HEAD", help="A line saved from `head`: fail if history up to it differs."),
    ] = None,
    jobs: Jobs = None,
    *,
    options: OutputOptions,
) -> None:
    """Check events, tables and archive, while workers run. Exit code 1 when anything is damaged.

    verify: was the log changed? audit: did the queue follow its own rules?
    """
    session: Session = ctx.obj
    form = options.form(session)
    with session.open_read_only(missing="refuse") as queue:
        if job is not None:
            report = verify_job(queue.store, queue.resolve([job])[0])
        else:
            with progress("checking", 2 * queue.store.log.head().position, hidden=form not in FOR_PEOPLE) as reached:
                report = verify_all(queue.store, reached, session.access.shares(jobs))
        expect(queue.store, report, expected or ())
        report.advise(queue.store)
    if form in FOR_PEOPLE:
        _print_report(look(session, form), report)
    else:
        whole = _whole(report)
        print_for_programs(form, whole, whole["first"], "position")
    if report.counts:
        raise typer.Exit(DAMAGED)


def _whole(report: Report) -> dict[str, Any]:
    return {
        "clean": not report.counts,
        "events": report.events,
        "head": {"position": report.head.position, "digest": report.head.digest.hex()},
        "problems": dict(report.counts),
        "first": [
            {
                "position": problem.position,
                "stream_id": problem.stream_id,
                "kind": problem.kind,
                "what": problem.what,
                "remedy": runnable(problem.remedy),
            }
            for problem in report.first
        ],
    }


def _print_report(shown: Look, report: Report) -> None:
    if not report.counts:
        head = f"{report.head.position} {report.head.digest.hex()}"
        print_line(shown, f"clean: {counted(report.events, 'event')}, head {head}")
        return
    for problem in report.first:
        print_line(shown, _line(problem))
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(report.counts.items()))
    print_line(shown, f"damaged: {report.counts.total()} in all ({kinds})")
    for remedy in dict.fromkeys(problem.remedy for problem in report.first):
        say(f"what to do: {runnable(remedy)}")


def _line(problem: Problem) -> str:
    place = "" if problem.position is None else f"event {problem.position}"
    stream = f" of {problem.stream_id}" if problem.stream_id and problem.position is not None else ""
    return f"{problem.kind}: {place}{stream}{': ' if place else ''}{problem.what}"


@with_records
def rebuild(ctx: typer.Context, jobs: Jobs = None, *, options: OutputOptions) -> None:
    """Recompute the job tables from the log and fix differences. Workers may run meanwhile."""
    session: Session = ctx.obj
    form = options.form(session)
    with (
        session.open_existing() as queue,
        progress("folding", queue.store.log.head().position, hidden=form not in FOR_PEOPLE) as reached,
    ):
        found = rebuild_tables(queue.store, reached, session.access.shares(jobs))
    if form not in FOR_PEOPLE:
        rows = [to_builtins(each) for each in found.first]
        print_for_programs(form, {"differences": found.total, "first": rows}, rows, "key")
        return
    for difference in found.first:
        print_line(look(session, form), str(difference))
    if found.total > len(found.first):
        print(f"and {found.total - len(found.first)} more")
    say(f"rebuilt: fixed {counted(found.total, 'difference')}" if found.total else "rebuilt: there were no differences")


@with_records
def doctor(ctx: typer.Context, *, options: OutputOptions) -> None:
    """Check this installation and queue. Prints a repair for each problem. Exit code 1 if there is one."""
    session: Session = ctx.obj
    form = options.form(session)
    quiet = form not in FOR_PEOPLE
    findings = list(examine(session.url.text, lambda: _open_to_examine(session, quiet), is_alive))
    if quiet:
        rows = [to_builtins(finding) for finding in findings]
        print_for_programs(form, rows, rows, "about")
    else:
        for finding in findings:
            _print_finding(look(session, form), finding)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(DAMAGED)


def _print_finding(shown: Look, finding: Finding) -> None:
    remedy = f"  ->  {finding.remedy}" if finding.remedy else ""
    text = clean(f"{finding.about}: {finding.what}{remedy}", newlines=False)
    lines = wrapped(text, shown.width and shown.width - len(_INDENT)).replace("\n", f"\n{_INDENT}")
    print(f"{colored(f'{finding.level:<8}', _COLORS[finding.level], shown.color)} {lines}")


def _open_to_examine(session: Session, quiet: bool) -> AbstractContextManager[tuple["Store", Progress]] | None:
    return None if session.missing_but_not_lost else _opened(session, quiet)


@contextmanager
def _opened(session: Session, quiet: bool) -> Iterator[tuple["Store", Progress]]:
    with (
        session.open_read_only(missing="refuse") as queue,
        progress("reading", queue.store.log.head().position, hidden=quiet) as reached,
    ):
        yield queue.store, reached
