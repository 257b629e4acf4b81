"""The command tree, and the options that go before every command."""

import os
import sys
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from queuectl.application.queue_url import QueueUrl
from queuectl.cli.session import Session
from queuectl.errors import set_queue_option

__all__ = ["command"]

COMMANDS = {
    "enqueue": "enqueue:enqueue",
    "run": "run:run",
    "worker": "workers:app",
    "status": "queries:status",
    "list": "queries:list_jobs",
    "show": "queries:show",
    "history": "queries:history",
    "logs": "logs:logs",
    "wait": "wait:wait",
    "cancel": "moves:cancel",
    "retry": "moves:retry",
    "purge": "moves:purge",
    "dlq": "dlq:app",
    "pause": "moves:pause",
    "resume": "moves:resume",
    "config": "config:app",
    "events": "events:events",
    "diff": "past:diff",
    "explain": "past:explain",
    "verify": "checks:verify",
    "audit": "audit:audit",
    "rebuild": "checks:rebuild",
    "recover": "recover:recover",
    "export": "transfer:export",
    "import": "transfer:import_log",
    "backup": "transfer:backup",
    "head": "transfer:head",
    "migrate": "migrate:migrate",
    "doctor": "checks:doctor",
}
"""Every command, in the order of the help, with its module and its function or typer app."""


class Group(TyperGroup):
    """Adds the name of the command to a usage error that lacks it, as for an option without its value."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if getattr(error, "ctx", ctx) is None and not hasattr(error, "command_path"):
                error.command_path = f"{ctx.command_path} {ctx.invoked_subcommand}"  # type: ignore[attr-defined]
            raise


class LazyGroup(Group):
    """Imports a command's module when the command is asked for, so that `enqueue` does not pay for `history`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        names: dict[str, Any] = dict.fromkeys(COMMANDS)
        self.commands = names  # for the help's order and typer's "Did you mean"

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None."""
        return _load(cmd_name) if cmd_name in COMMANDS else None


@cache
def _load(name: str) -> Any:
    module, _, attribute = COMMANDS[name].partition(":")
    found = getattr(import_module(f"queuectl.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        group = typer.main.get_command(found)
        group.name = name
        return group
    app = new_app()
    app.command(name, cls=getattr(found, "command_class", None), no_args_is_help=False)(found)
    return typer.main.get_command(app)


def new_app(**options: Any) -> typer.Typer:
    """A typer app with the settings that all our commands share."""
    return typer.Typer(
        cls=options.pop("cls", Group),
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=options.pop("add_completion", False),
        **options,
    )


def _version(wanted: bool) -> None:
    if wanted:
        from queuectl import __version__

        print(f"queuectl {__version__}")
        raise typer.Exit


def main(
    ctx: typer.Context,
    db: Annotated[
        str | None, typer.Option("--db", metavar="PATH|URL", help="The queue [default: ./data/queue.db].")
    ] = None,
    archive_dir: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Archive folder of a new queue [default: next to it].")
    ] = None,
    color: Annotated[str, typer.Option(metavar="auto|always|never", help="Colour the output.")] = "auto",
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run shell commands in the background, with retries and a full history."""
    if color not in ("auto", "always", "never"):
        raise typer.BadParameter(f"{color!r} is not auto, always or never", param_hint="--color")
    set_queue_option(None if db and QueueUrl(db).has_password else db)
    ctx.obj = Session(db, color, os.environ, sys.stdout, archive_dir)


def command() -> Any:
    """The root command."""
    app = new_app(cls=LazyGroup, add_completion=True, no_args_is_help=True)
    app.callback()(main)
    return typer.main.get_command(app)
