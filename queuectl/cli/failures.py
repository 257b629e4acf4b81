"""`failures`: dead jobs and failed attempts, grouped by what went wrong."""

from typing import Annotated

import typer

from queuectl.application.failures import Wanted
from queuectl.application.failures import failures as failures_of
from queuectl.application.job_fields import check_queue
from queuectl.cli.options import AsOf, Json, Output, Queues, moment
from queuectl.cli.output import Answer, form_of, print_answer
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.render.failure_rows import failure_table, failure_total

__all__ = ["failures"]


def failures(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only failures since this time (-2h, monday, 09:00).")
    ] = None,
    queue: Queues = None,
    attempts: Annotated[
        bool, typer.Option("--attempts", help="Every failed attempt, also of jobs that were retried. Reads the log.")
    ] = False,
    flaky: Annotated[
        bool, typer.Option("--flaky", help="Failed attempts of jobs that were done in the end. Reads the log.")
    ] = False,
    output: Output = None,
    as_json: Json = False,
    as_of: AsOf = None,
) -> None:
    """Group the dead jobs by what went wrong, the most frequent first."""
    session: Session = ctx.obj
    form = form_of(session, output, as_json)
    if attempts and flaky:
        raise UsageError("--attempts and --flaky: give one of them")
    begin = moment(session.clock, since) or 0
    wanted = Wanted(begin, tuple(map(check_queue, queue or ())), attempts, flaky)
    with session.open_read_only(as_of) as jobs:
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
    return ("failed attempt", "") if wanted.attempts else ("job", " in the dead-letter queue")
