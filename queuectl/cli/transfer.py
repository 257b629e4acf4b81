"""`export`, `import`, `backup` and `head`: copy a log or a queue, and print the log's last digest."""

import sys
from typing import Annotated

import typer

from queuectl.application.liveness import jobs_running_here
from queuectl.cli.messages import say
from queuectl.cli.option_records import with_records
from queuectl.cli.output import Answer, OutputOptions, print_answer
from queuectl.cli.progress_bar import progress
from queuectl.cli.session import Session
from queuectl.maintenance.backup import back_up
from queuectl.maintenance.chain import head_on_disk, head_text
from queuectl.maintenance.export import export_log, writing
from queuectl.maintenance.import_log import import_log as take_log
from queuectl.maintenance.import_log import new_file_remover, reading
from queuectl.units import counted

__all__ = ["backup", "export", "head", "import_log"]


def export(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A new file (.gz: compressed; -: stdout).")],
) -> None:
    """Write the whole log to a file as NDJSON with digests. Workers may run."""
    session: Session = ctx.obj
    with (
        session.open_read_only(missing="refuse") as queue,
        writing(file, sys.stdout.buffer) as output,
        progress("exporting", queue.store.log.head().position) as reached,
    ):
        end = export_log(queue.store, output, reached)
    say(f"exported {counted(end.position, 'event')}, head {head_text(end)}")


def import_log(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="An exported log or an archive segment (also .gz; -: stdin).")
    ],
) -> None:
    """Load an exported log into an empty queue. Every digest is checked; all or nothing is loaded."""
    session: Session = ctx.obj
    give_up = new_file_remover(session.url.text)
    with (
        reading(file, sys.stdin.buffer) as lines,
        session.open(announced=False) as queue,
        progress("importing") as reached,
    ):
        end = take_log(queue.store, lines, reached, give_up)
        running = jobs_running_here(queue.store)
    say(f"imported {counted(end.position, 'event')}, head {head_text(end)}")
    _say_running(running)


def backup(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A new file.")],
) -> None:
    """Copy the queue to a new file and verify the copy. Workers may run meanwhile."""
    session: Session = ctx.obj
    with (
        session.open_read_only(missing="refuse") as queue,
        progress("checking", queue.store.log.head().position) as reached,
    ):
        end = back_up(queue.store, file, lambda path: session.access.open_other(path, archived=False), reached)
        running = jobs_running_here(queue.store)
    say(f"backed up {counted(end.position, 'event')}, head {head_text(end)}")
    _say_running(running)


def _say_running(jobs: list[str]) -> None:
    if jobs:
        are = "is running" if len(jobs) == 1 else "are running"
        say(
            f"{counted(len(jobs), 'job')} {are} in the original ({', '.join(jobs[:5])}): a worker on the copy "
            "runs them again when their leases are over (to prevent that: `queuectl cancel` in the copy)"
        )


@with_records
def head(ctx: typer.Context, *, options: OutputOptions) -> None:
    """Print the position and digest of the last event on disk. Save the line elsewhere, for `verify --expect`."""
    session: Session = ctx.obj
    form = options.form(session)
    with session.open_read_only(missing="refuse") as queue:
        found = head_on_disk(queue.store)
    shown = {"position": found.position, "digest": found.digest.hex()}
    print_answer(session, form, Answer(document=shown, rows=[shown], name="position", text=lambda _: head_text(found)))
