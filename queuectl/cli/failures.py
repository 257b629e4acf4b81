"""`failures`: dead jobs and failed attempts, grouped by what went wrong."""

from typing import Annotated

import typer

from queuectl.application.failures import Wanted
from queuectl.application.failures import failures as failures_of
from queuectl.cli.option_records import with_records
from queuectl.cli.options import Labels, Signature, moment
from queuectl.cli.output import Answer, PastOptions, print_answer
from queuectl.cli.session import Session
from queuectl.errors import UsageError, command_line
from queuectl.render.failure_rows import failure_table, failure_total

__all__ = ["failures"]


@with_records
def failures(
    ctx: typer.Context,
    *,
    labels: Labels,
    sig: Signature = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only failures since this time (-2h, monday, 09:00).")
    ] = None,
    attempts: Annotated[
        bool, typer.Option("--attempts", help="Every failed attempt, also of jobs that were retried. Reads the log.")
    ] = False,
    flaky: Annotated[
        bool, typer.Option("--flaky", help="Failed attempts of jobs that were done in the end. Reads the log.")
    ] = False,
    options: PastOptions,
) -> None:
    """Group the dead jobs by what went wrong, the most frequent first."""
    session: Session = ctx.obj
    form = options.form(session)
    if attempts and flaky:
        raise UsageError("--attempts and --flaky: give one of them")
    wanted = Wanted(labels.selection(since=moment(session.clock, since), signature=sig), attempts, flaky)
    with session.open_read_only(options.as_of) as jobs:
        rows, now = failures_of(jobs, wanted), jobs.store.log.wall()
    print_answer(
        session,
        form,
        Answer(
            document=rows,
            rows=rows,
            name="signature",
            text=lambda look: failure_table(rows, now, look.width) if rows else "",
            note=failure_total(rows, *_counted(wanted))
            if rows
            else "no failures"
            if attempts or flaky
            else "no dead jobs",
        ),
    )


def _counted(wanted: Wanted) -> tuple[str, str]:
    if wanted.flaky:
        return "failed attempt", " of jobs that were done in the end"
    if wanted.attempts:
        return "failed attempt", ""
    return "job", f" in the dead-letter queue (of one: `{command_line('list', '--sig', 'SIG')}`)"
