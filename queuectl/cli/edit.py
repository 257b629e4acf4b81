"""`edit` and `copy`: change a pending job, and add a new job like an existing one."""

import os
import sys
from typing import Annotated, Any

import msgspec
import typer
from msgspec.structs import replace

from queuectl.application.editing import Edit, Editor
from queuectl.application.job_json import JobInput
from queuectl.application.queue import Queue
from queuectl.cli.job_options import RetryChanges, name_values
from queuectl.cli.messages import print_added, say, say_unserved
from queuectl.cli.option_records import with_records
from queuectl.cli.options import Id, MaybeIds, Reason, given_ids
from queuectl.cli.session import Session
from queuectl.domain.amendment import between
from queuectl.domain.job import Job
from queuectl.errors import UsageError
from queuectl.render.amendments import amendments
from queuectl.units import local_time

__all__ = ["copy", "edit"]


class Changes(msgspec.Struct, frozen=True):
    """The options of `edit` and `copy` that say what is different."""

    command: Annotated[str | None, typer.Option(metavar="COMMAND", help="The shell command.")] = None
    priority: Annotated[
        int | None,
        typer.Option("--priority", "-p", metavar="N", help="Higher numbers run first."),
    ] = None
    queue: Annotated[str | None, typer.Option("--queue", "-q", metavar="NAME", help="The queue.")] = None
    timeout: Annotated[
        str | None, typer.Option(metavar="5m", help="Stop an attempt that runs longer; none: no limit.")
    ] = None
    retries: RetryChanges = RetryChanges()
    cwd: Annotated[str | None, typer.Option(metavar="DIR", help="The folder that the job runs in.")] = None
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V|K", help="Set an environment variable for the job; without a value, copy yours."),
    ] = None
    unset_env: Annotated[list[str] | None, typer.Option(metavar="K", help="Remove one of the job's variables.")] = None
    tag: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Label the job.")] = None
    stdin: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The file that the job reads; /dev/null: none."),
    ] = None
    at: Annotated[str | None, typer.Option(metavar="TIME", help="Run no earlier than this.")] = None
    delay: Annotated[str | None, typer.Option(metavar="10s", help="Wait this long from now.")] = None
    after: Annotated[
        list[str] | None,
        typer.Option(metavar="ID[:ok|end|failed]", help="Wait for these jobs (batch:NAME: a batch) and no others."),
    ] = None
    if_unmet: Annotated[
        str | None, typer.Option(metavar="hold|cancel", help="What to do when that can no longer happen.")
    ] = None

    def edit(self, *, now: bool = False, no_after: bool = False, **others: Any) -> Edit:
        """The changes, with `others`: more fields of a job. Raises UsageError."""
        wanted = JobInput(
            **self.retries.fields(),
            **others,
            after=() if no_after else tuple(self.after) if self.after else None,
            if_unmet=self.if_unmet,
            command=self.command,
            priority=self.priority,
            queue=self.queue,
            timeout=self.timeout,
            cwd=self.cwd,
            env=name_values("--env", self.env, os.environ),
            tags=name_values("--tag", self.tag),
            stdin=self.stdin,
            at=self.at,
            delay=self.delay,
        )
        return Edit(wanted, tuple(self.unset_env or ()), now)


@with_records
def edit(
    ctx: typer.Context,
    ids: MaybeIds = None,
    *,
    changes: Changes,
    no_after: Annotated[bool, typer.Option("--no-after", help="Wait for no other job any more.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Make it due now.")] = False,
    reason: Reason = "",
) -> None:
    """Change pending jobs: all or none. Without options: one job, in your editor ($VISUAL, $EDITOR)."""
    session: Session = ctx.obj
    if [changes.at is not None, changes.delay is not None, now].count(True) > 1:
        raise UsageError("give one of --at, --delay and --now")
    for name, given in (("--after", changes.after), ("--if-unmet", changes.if_unmet)):
        if no_after and given:
            raise UsageError(f"give one of {name} and --no-after")
    wanted = changes.edit(now=now, no_after=no_after)
    if not ids:
        raise UsageError("give the ids of the jobs to edit")
    with session.open_existing() as jobs:
        found = jobs.resolve(given_ids(ids))
        if wanted:
            _edit(session, jobs, found, wanted, reason)
            return
        if len(found) > 1 or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError("give options such as --timeout 1h, or one id on a terminal for your editor")
        from queuectl.cli.editor import edit_as_text

        edit_as_text(jobs, found[0], lambda ids, changes: _edit(session, jobs, ids, changes, reason))


def _edit(session: Session, jobs: Queue, ids: list[str], changes: Edit, reason: str) -> None:
    editor = Editor(jobs, session.config(jobs))
    edited = editor.edit(ids, changes, reason)
    for note in editor.notes:
        say(f"queuectl: {note}")
    for before, after in edited:
        say(f"{after.id}: {_changes_made(before, after)}")


def _changes_made(before: Job, after: Job) -> str:
    if before.version == after.version:
        return "nothing changed"
    changes = between(before.spec, after.spec)
    if after.is_waiting and not before.is_waiting:
        changes = replace(changes, after=after.spec.after)
    what = amendments(changes, before)
    due = f"due {local_time(after.due_at)}" if after.due_at is not None and after.due_at != before.due_at else ""
    return "; ".join(filter(None, (due, "" if due and what == "nothing changed" else what)))


@with_records
def copy(
    ctx: typer.Context,
    job_id: Id,
    id: Annotated[  # noqa: A002 (the option's name)
        str | None, typer.Option("--id", metavar="ID", help="The new job's id [default: a UUIDv7].")
    ] = None,
    *,
    changes: Changes,
    unique: Annotated[str | None, typer.Option(metavar="KEY", help="The new job's unique key [default: none].")] = None,
) -> None:
    """Add a new job like another one, which may run, and print its id."""
    session: Session = ctx.obj
    wanted = changes.edit(id=id, unique=unique)
    with session.open_existing() as jobs:
        (found,) = jobs.resolve([job_id])
        editor = Editor(jobs, session.config(jobs))
        new = editor.copy(found, wanted)
        for note in editor.notes:
            say(f"queuectl: {note}")
        (receipt,) = jobs.enqueue([new])
        unserved = jobs.unserved({new.spec.queue} if receipt.created else ())
    print_added([receipt.id])
    say_unserved(unserved)
