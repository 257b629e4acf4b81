"""`failures`: dead jobs and failed attempts, grouped by what went wrong."""

from typing import Annotated

import typer
from msgspec.structs import replace

from queuectl.application.failures import Wanted, check_signature
from queuectl.application.failures import failures as failures_of
from queuectl.application.listing import Selection, job_filter
from queuectl.application.listing import list_jobs as listing
from queuectl.cli.option_records import with_records
from queuectl.cli.options import Labels, Signature, at_most, moment, note_left_out, shown_at_most
from queuectl.cli.output import Answer, PastOptions, print_answer
from queuectl.cli.session import Session
from queuectl.domain.machine import State
from queuectl.errors import NoSuchJobError, UsageError, command_line
from queuectl.render import json_shapes
from queuectl.render.failure_rows import failure_group, failure_table, failure_total
from queuectl.render.formats import FOR_PEOPLE

__all__ = ["failures"]


@with_records
def failures(
    ctx: typer.Context,
    group: Annotated[
        str | None,
        typer.Argument(metavar="[SIG]", help="Show this group: its jobs, and the commands to retry them."),
    ] = None,
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
    limit: Annotated[
        int | None,
        at_most("At most N groups [default: all], or N jobs of SIG [default: 50; with --json 0]; 0: all."),
    ] = None,
    options: PastOptions,
) -> None:
    """Group the dead jobs by what went wrong, the most frequent first."""
    session: Session = ctx.obj
    if group is not None:
        if sig or since or attempts or flaky:
            raise UsageError("SIG shows the dead jobs of one group: leave out --sig, --since, --attempts and --flaky")
        _print_group(session, labels.selection(signature=check_signature(group)), limit, options)
        return
    if attempts and flaky:
        raise UsageError("--attempts and --flaky: give one of them")
    wanted = Wanted(labels.selection(since=moment(session.clock, since), signature=sig), attempts, flaky)
    _print_groups(session, wanted, limit, options)


def _print_groups(session: Session, wanted: Wanted, limit: int | None, options: PastOptions) -> None:
    form = options.form(session)
    with session.open_read_only(options.as_of) as queue:
        rows, now = failures_of(queue, wanted), queue.store.log.wall()
    shown = rows[: limit or None]
    none = "no failures" if wanted.attempts or wanted.flaky else "no dead jobs"
    answer = Answer(
        document=shown,
        rows=shown,
        name="signature",
        text=lambda look: failure_table(shown, now, look.width) if shown else "",
        note=failure_total(rows, *_counted(wanted)) if rows else none,
    )
    print_answer(session, form, answer)


def _print_group(session: Session, selected: Selection, limit: int | None, options: PastOptions) -> None:
    form = options.form(session)
    with session.open_read_only(options.as_of) as queue:
        groups = failures_of(queue, Wanted(selected))
        wanted = job_filter(replace(selected, states=(State.DLQ.value,)), "created")
        found = listing(queue, wanted, shown_at_most(limit, form in FOR_PEOPLE))
    if not groups:
        raise NoSuchJobError(f"no dead jobs: {selected} (`{command_line('failures')}` shows the signatures)")
    jobs = [json_shapes.job(row) for row in found.rows]
    commands = {} if options.as_of is not None else _commands(selected)
    answer = Answer(
        document={**groups[0], "members": jobs},
        rows=jobs,
        name="id",
        text=lambda look: failure_group(groups[0], found.rows, commands, (found.now, look.width, look.color)),
        note=note_left_out(len(jobs), found.total),
    )
    print_answer(session, form, answer)


def _commands(selected: Selection) -> dict[str, str]:
    """The commands that retry the jobs, each after what it does."""
    filters = ["--sig", selected.signature or ""]
    filters += [word for name in selected.queues for word in ("--queue", name)]
    filters += [word for tag in selected.tags.items() for word in ("--tag", "=".join(tag))]
    filters += [] if selected.batch is None else ["--batch", selected.batch]
    return {
        "retry all": command_line("retry", *filters),
        "retry a few": command_line("retry", *filters, "--limit", "10"),
        "retry changed": f"{command_line('retry', *filters, '--set')} FIELD=VALUE",
    }


def _counted(wanted: Wanted) -> tuple[str, str]:
    if wanted.flaky:
        return "failed attempt", " of jobs that were done in the end"
    if wanted.attempts:
        return "failed attempt", ""
    return "job", f" in the dead-letter queue (one group: `{command_line('failures', 'SIG')}`)"
