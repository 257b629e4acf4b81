"""`migrate`: copies a queue to another store."""

import os
from shlex import quote
from typing import Annotated

import typer

from queuectl.cli.messages import confirm, progress, say
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.maintenance.import_log import new_file_remover
from queuectl.maintenance.migrate import migrate as copy_log
from queuectl.store import MEMORY, name_of, open_store
from queuectl.store.postgres.url import has_password
from queuectl.units import counted

__all__ = ["migrate"]


def migrate(
    ctx: typer.Context,
    to: Annotated[str, typer.Option("--to", metavar="PATH|URL", help="The new store; it has to be empty.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Copy the queue's log to another store. Then the old queue becomes read-only and points to the new one.

    Stop the workers first. The new queue has the same events, the same head and the same tables.
    """
    session: Session = ctx.obj
    if has_password(to):
        raise UsageError("--to: a password on the command line can be seen by everyone: put it into ~/.pgpass")
    place = name_of(to)
    if place in (MEMORY, name_of(session.url)):
        raise UsageError(f"--to {to}: name a store that lasts, and not the queue itself")
    with session.open_existing():
        confirm(f"migrate to {place}, after which {name_of(session.url)} is read-only", yes)
    with session.open_existing() as queue, progress("copied", queue.store.log.head().position) as reached:
        head = copy_log(
            queue.store,
            lambda: open_store(to, session.clock, keep=session.keeping),
            place,
            reached,
            new_file_remover(place),
        )
    say(f"copied {counted(head.position, 'event')} to {place}, head {head.position} {head.digest.hex()}")
    say(f"use it from now on: export QUEUECTL_DB={quote(place)}")
    if os.path.isdir(queue.store.location.output_folder):
        say(f"whole outputs of earlier jobs stay in {queue.store.location.output_folder}")
