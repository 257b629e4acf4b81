"""`migrate`: the queue carried to another store."""

import os
from shlex import quote
from typing import Annotated

import typer

from queuectl.cli.messages import progress, say
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.maintenance.import_log import new_file_remover
from queuectl.maintenance.migrate import migrate as carry_over
from queuectl.store import MEMORY, name_of, open_store
from queuectl.store.postgres.url import has_password
from queuectl.units import counted

__all__ = ["migrate"]


def migrate(
    ctx: typer.Context,
    to: Annotated[str, typer.Option("--to", metavar="PATH|URL", help="Where it goes: an empty store.")],
) -> None:
    """Carry the queue to another store by replaying its log: same head, same tables. The old one is closed.

    Workers have to be stopped. From then on the old queue can only be read, and says where the log goes on.
    """
    session: Session = ctx.obj
    if has_password(to):
        raise UsageError("--to: a password on the command line can be seen by everyone: put it into ~/.pgpass")
    place = name_of(to)
    if place in (MEMORY, name_of(session.url)):
        raise UsageError(f"--to {to}: name a place that lasts, and another than the queue's own")
    with session.open_existing() as queue, progress("carried over", queue.store.log.head().position) as reached:
        head = carry_over(
            queue.store,
            lambda: open_store(to, session.clock, keep=session.keeping),
            place,
            reached,
            new_file_remover(place),
        )
    say(f"carried {counted(head.position, 'event')} over to {place}, head {head.position} {head.digest.hex()}")
    say(f"use it from now on: export QUEUECTL_DB={quote(place)}")
    if os.path.isdir(queue.store.location.output_folder):
        say(f"whole outputs of earlier jobs stay in {queue.store.location.output_folder}")
