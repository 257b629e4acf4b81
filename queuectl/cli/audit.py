"""`audit`: checks whether the queue followed its own rules. The same log always gives the same output."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

import typer
from msgspec import to_builtins
from msgspec.structs import asdict

from queuectl import __version__
from queuectl.checks.audit import RULES, Audit
from queuectl.cli.option_records import with_records
from queuectl.cli.options import between
from queuectl.cli.output import OutputOptions, look, print_for_programs, print_line
from queuectl.cli.progress_bar import progress
from queuectl.cli.session import Session
from queuectl.domain.events import RecordedEvent
from queuectl.errors import UsageError
from queuectl.maintenance.import_log import read_log, reading
from queuectl.render.formats import FOR_PEOPLE
from queuectl.units import counted, format_time

__all__ = ["audit"]

SHOWN = 20
"""The most findings, and open claims, that are printed one by one."""
BROKEN = 1


class _Log(NamedTuple):
    """The events to check, of a queue or of a file, and the id of their log."""

    log_id: str
    records: Iterator[RecordedEvent]


@with_records
def audit(
    ctx: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="An exported log (also .gz; -: stdin) [default: the queue].")
    ] = None,
    first: Annotated[
        int,
        typer.Option(
            "--from",
            callback=between(1),
            metavar="N",
            show_default=False,
            help="Check only events from this position on [default: 1].",
        ),
    ] = 1,
    last: Annotated[
        int | None, typer.Option("--to", callback=between(0), metavar="N", help="Read only up to this position.")
    ] = None,
    *,
    options: OutputOptions,
) -> None:
    """Check that the queue followed its own rules. Exit code 1 when it did not.

    It checks claims, runs, limits and waits, and reads nothing but the log.

    verify: was the log changed? audit: did the queue follow its own rules?
    """
    if last is not None and 1 < first > last:
        raise UsageError(f"--from {first} is after --to {last}: there is nothing to check")
    form = options.form(ctx.obj)
    judged = Audit(first)
    with _log(ctx.obj, file, last) as log, progress("judging", hidden=form not in FOR_PEOPLE) as reached:
        for record in log.records:
            if last is not None and record.position > last:
                break
            judged.take(record)
            reached(record.position)
        if last is None:
            judged.end()
    _refuse_beyond(max(first if first > 1 else 0, last or 0), judged)
    if form in FOR_PEOPLE:
        shown = look(ctx.obj, form)
        for line, indent in _verdict(log.log_id, judged):
            print_line(shown, line, indent)
    else:
        whole = to_builtins(_whole(log.log_id, judged))
        print_for_programs(form, whole, whole["rules"], "rule")
    if not judged.clean:
        raise typer.Exit(BROKEN)


@contextmanager
def _log(session: Session, file: str | None, last: int | None) -> Iterator[_Log]:
    """Open the log of the file or of the queue."""
    if file is None:
        with session.open_read_only(missing="refuse") as queue:
            yield _Log(queue.store.log.log_id, queue.store.log.records(until=last))
        return
    with reading(file, sys.stdin.buffer) as lines:
        yield _Log(*read_log(lines))


def _refuse_beyond(position: int, judged: Audit) -> None:
    """Raise UsageError if the log ends before the position: then it was not checked up to there."""
    end = judged.last.position if judged.last else 0
    if position > end:
        raise UsageError(f"there is no position {position}: the log ends at {end}")


def _place(judged: Audit) -> dict[str, Any]:
    last = judged.last
    return {"position": last.position if last else 0, "digest": last.digest.hex() if last else bytes(32).hex()}


def _whole(log_id: str, judged: Audit) -> dict[str, Any]:
    return {
        "clean": judged.clean,
        "log_id": log_id,
        "queuectl": __version__,
        "from": judged.since,
        "events": judged.events,
        "head": _place(judged),
        "rules": [
            {"rule": rule, "holds": holds, "checked": judged.checked[rule], "findings": judged.found[rule]}
            for rule, holds in RULES.items()
        ],
        "losses": {"all": judged.losses, "within_lease": judged.early_losses},
        "open": [{**asdict(each), "since": format_time(each.since)} for each in judged.open_claims()],
        "findings": judged.findings,
    }


def _verdict(log_id: str, judged: Audit) -> Iterator[tuple[str, str]]:
    """The lines for people, each with its indentation on a narrow terminal."""
    for line in _heading(log_id, judged):
        yield line, " " * 9
    for rule, holds in RULES.items():
        yield f"{rule:<8}  {judged.checked[rule]:>7}  {judged.found[rule]:>8}  {holds}", " " * 29
    for line in _findings(judged):
        yield line, "  "


def _heading(log_id: str, judged: Audit) -> Iterator[str]:
    head = _place(judged)
    yield f"log      {log_id}"
    yield f"head     {head['position']} {head['digest']}"
    yield f"audited  {counted(judged.events, 'event')}, from position {judged.since} on, by queuectl {__version__}"
    yield "rule      checked  findings  holds when"


def _findings(judged: Audit) -> Iterator[str]:
    for finding in judged.findings[:SHOWN]:
        yield f"{finding.rule}: event {finding.position} of {finding.stream_id}: {finding.what}"
    if judged.found.total() > SHOWN:
        yield f"and {judged.found.total() - SHOWN} more findings"
    yield from _open(judged)
    if judged.losses:
        early = (
            f"{judged.early_losses} of them within the lease: those workers were seen dead, or had sent no heartbeat"
        )
        yield f"{counted(judged.losses, 'run')} lost with the worker, {early}"
    yield f"broken: {counted(judged.found.total(), 'finding')}" if judged.found else "ok: no violations"


def _open(judged: Audit) -> Iterator[str]:
    claims = judged.open_claims()
    for claim in claims[:SHOWN]:
        yield f"open: run {claim.run} of {claim.stream_id} by {claim.worker} since {format_time(claim.since)}"
    if len(claims) > SHOWN:
        yield f"and {len(claims) - SHOWN} more open"
