"""`context list|use|show`: names that the user gave to queues, and the one that is used without `--db`."""

import os
from typing import Annotated

import typer

from queuectl.application.contexts import read_contexts, use_context
from queuectl.application.queue_url import USED, QueueUrl, contexts_file
from queuectl.cli.app import new_app
from queuectl.cli.messages import say
from queuectl.cli.option_records import with_records
from queuectl.cli.output import Answer, OutputOptions, print_answer
from queuectl.cli.session import Session
from queuectl.config import DEFAULT
from queuectl.errors import UsageError
from queuectl.render.tables import Column, table
from queuectl.render.terminal import clean

__all__ = ["app"]

app = new_app(help="Names for queues, and the one to use.")

COLUMNS = ("name", Column("queue", limit=1000), "used")


@app.command("list")
@with_records
def list_contexts(ctx: typer.Context, *, options: OutputOptions) -> None:
    """List the contexts of your config.toml, with the one that is used."""
    session: Session = ctx.obj
    form = options.form(session)
    path = contexts_file(os.environ)
    found = read_contexts(path)
    rows = [{"name": name, "queue": QueueUrl(url).name, "used": name == found.used} for name, url in found.urls.items()]
    shown = [{**row, "used": "yes" if row["used"] else ""} for row in rows]
    answer = Answer(
        document=rows,
        rows=rows,
        name="name",
        text=lambda look: table(shown, COLUMNS, width=look.width) if rows else "",
        note="" if rows else f'no contexts: write [contexts.NAME] and db = "PATH|URL" into {path}',
    )
    print_answer(session, form, answer)


@app.command("use")
def use(
    ctx: typer.Context,
    context_name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A name of `context list`.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Use no context.")] = False,
) -> None:
    """Use this queue from now on. A flag, a variable or `.env` that names another still wins."""
    if (context_name is None) != none:
        raise UsageError("give one of them: the name of a context, or --none")
    path = contexts_file(os.environ)
    use_context(path, context_name)
    session: Session = ctx.obj
    say("no context is used" if context_name is None else f"the context is {context_name}")
    if session.found.origin not in (USED, DEFAULT):
        say(f"here the queue is still {session.place}")


@app.command()
@with_records
def show(ctx: typer.Context, *, options: OutputOptions) -> None:
    """Show the queue that commands use here, and where it was named."""
    session: Session = ctx.obj
    form = options.form(session)
    row = {"context": session.found.context, "queue": session.url.name, "origin": session.found.origin}
    lines = [f"{name + ':':<9}{clean(value or 'none', newlines=False)}" for name, value in row.items()]
    print_answer(session, form, Answer(document=row, rows=[row], name="context", text=lambda look: "\n".join(lines)))
