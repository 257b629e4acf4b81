"""`migrate`: copies a queue to another store."""

import os
from shlex import quote
from typing import Annotated

import typer

from queuectl.application.liveness import is_alive
from queuectl.application.queue_url import QueueUrl
from queuectl.cli.app import refuse_empty
from queuectl.cli.messages import confirm, say
from queuectl.cli.progress_bar import progress
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.maintenance.chain import head_text
from queuectl.maintenance.import_log import new_file_remover
from queuectl.maintenance.migrate import migrate as copy_log
from queuectl.units import counted

__all__ = ["migrate"]


def migrate(
    ctx: typer.Context,
    to: Annotated[str, typer.Option("--to", metavar="PATH|URL", help="The new store; it must be empty.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Copy the queue's log to another store. Then the old queue becomes read-only and points to the new one.

    Stop the workers first. The new queue has the same events, the same head and the same tables.
    """
    session: Session = ctx.obj
    refuse_empty("--to", to)
    target = QueueUrl(to)
    if target.has_password:
        raise UsageError("--to: a password on the command line can be seen by everyone: put it into ~/.pgpass")
    place = target.name
    if target.is_in_memory or place == session.url.name:
        raise UsageError(f"--to {to}: choose a place on disk or on a server other than the queue itself")
    with session.open_existing():
        confirm(f"migrate to {place}, after which {session.url.name} is read-only", yes)
    with session.open_existing() as queue, progress("copying", queue.store.log.head().position) as reached:
        head = copy_log(
            queue.store,
            lambda: session.access.open_other(to),
            place,
            is_alive,
            reached,
            new_file_remover(place),
        )
    say(f"copied {counted(head.position, 'event')} to {place}, head {head_text(head)}")
    say(f"use it from now on: export QUEUECTL_DB={quote(place)}")
    if os.path.isdir(queue.store.location.output_folder):
        say(f"output files of earlier jobs stay in {queue.store.location.output_folder}")
