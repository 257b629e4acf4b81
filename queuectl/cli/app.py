"""The command tree, and the options that go before every command."""

import os
import shlex
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.units import use_utc

__all__ = ["command", "refuse_empty"]

GROUPS = {
    "Jobs": {
        "enqueue": "enqueue:enqueue",
        "status": "queries:status",
        "list": "queries:list_jobs",
        "batches": "batches:batches",
        "show": "queries:show",
        "logs": "logs:logs",
        "wait": "wait:wait",
        "edit": "edit:edit",
        "copy": "edit:copy",
        "cancel": "moves:cancel",
        "retry": "moves:retry",
        "purge": "moves:purge",
        "unblock": "moves:unblock",
        "dlq": "dlq:app",
        "failures": "failures:failures",
    },
    "Workers": {
        "run": "run:run",
        "worker": "workers:app",
        "pause": "moves:pause",
        "resume": "moves:resume",
    },
    "Schedules": {
        "schedule": "schedule:app",
    },
    "Looking back": {
        "history": "queries:history",
        "explain": "past:explain",
        "graph": "graph:graph",
        "events": "events:events",
        "diff": "past:diff",
    },
    "Watching": {
        "serve": "serve:serve",
        "metrics": "metrics:metrics",
    },
    "The log": {
        "verify": "checks:verify",
        "audit": "audit:audit",
        "rebuild": "checks:rebuild",
        "recover": "recover:recover",
        "export": "transfer:export",
        "import": "transfer:import_log",
        "backup": "transfer:backup",
        "head": "transfer:head",
        "migrate": "migrate:migrate",
    },
    "Settings": {
        "config": "config:app",
        "context": "context:app",
        "doctor": "checks:doctor",
    },
}
"""Every command under its heading in the help, with its module and its function or typer app."""
COMMANDS = {name: where for commands in GROUPS.values() for name, where in commands.items()}
ALIASES = {"add": "enqueue", "ls": "list", "ps": "status", "rm": "purge", "kill": "cancel", "log": "logs"}
"""Names that people know from other programs. The help does not list them."""

OF_OTHERS = {
    "follow": "logs -f",
    "clean": "purge --state done",
    "parallel": "run --concurrency N",
    "start": "run",
    "restart": "retry",
    "remove": "purge, or cancel for a job that has not ended",
    "group": "enqueue --queue NAME",
    "submit": "enqueue",
    **dict.fromkeys(("stash", "delay"), "edit ID --delay 1h"),
    **dict.fromkeys(("switch", "priority"), "edit ID --priority N"),
    **dict.fromkeys(("stop", "shutdown"), "worker stop"),
    "daemon": "worker start --detach",
    "reset": "cancel, then purge",
    "delete": "purge, or cancel for a job that has not ended",
    **dict.fromkeys(("job", "info"), "show ID"),
    "jobs": "list",
    "tail": "logs -f",
    **dict.fromkeys(("queue", "queues"), "status"),
    "watch": "status --watch",
    "cron": "schedule",
}
"""Commands of other programs that have no twin here, and what to type for them."""


NAMES_A_PROGRAM = ("enqueue", "add")
"""Commands whose words are a job's command: there `--utc` may be an option of that."""

_ARGUMENTS = "queuectl.arguments"
_REMOTE = "ssh://"
_ADVISED = "_QUEUECTL_ADVISED"
"""The variable with the options by which a person on another host named this queue."""


class Group(TyperGroup):
    """Adds the name of the command to a usage error that lacks it, as for an option without its value.

    Takes the aliases of commands, as in `worker ls`.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name, also by an alias."""
        meant = ALIASES.get(args[0], args[0])
        return super().resolve_command(ctx, [meant, *args[1:]] if meant in self.commands else args)

    def summary(self, name: str, limit: int) -> str:
        """The first sentence of a command's help, cut to so many characters; empty for a hidden command."""
        found = self.get_command(None, name)  # type: ignore[arg-type] # ours need no context
        return "" if found is None or found.hidden else found.get_short_help_str(limit)

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

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named. Ctrl-C ends the line in which the terminal showed it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            from queuectl.cli.messages import end_line

            end_line()
            raise

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remember all arguments, for a queue on another host."""
        ctx.meta[_ARGUMENTS] = [*args]
        return list(super().parse_args(ctx, args))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None."""
        return _load(cmd_name) if cmd_name in COMMANDS else None

    def summary(self, name: str, limit: int) -> str:
        """The first sentence of a command's help, which is known without its module."""
        from queuectl.cli.summaries import SUMMARIES

        return TyperCommand(name, help=SUMMARIES[name]).get_short_help_str(limit)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name, also by an alias. `help COMMAND` is `COMMAND --help`."""
        if args[0] == "help":
            args = [*args[1:], "--help"]
        if args[0] == "--help":
            print(ctx.get_help())
            raise typer.Exit
        if args[0] in OF_OTHERS:
            raise UsageError(f"there is no command {args[0]}: try queuectl {OF_OTHERS[args[0]]}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands under their headings, in one column of names."""
        width = max(map(len, COMMANDS))
        for heading, names in GROUPS.items():
            with formatter.section(heading):
                limit = formatter.width - 6 - width
                formatter.write_dl([(f"{name:<{width}}", self.summary(name, limit)) for name in names])


@cache
def _load(name: str) -> Any:
    module, _, attribute = COMMANDS[name].partition(":")
    found = getattr(import_module(f"queuectl.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        group = typer.main.get_command(found)
        group.name = name
    else:
        app = new_app()
        app.command(name, cls=getattr(found, "command_class", None), no_args_is_help=False)(found)
        group = typer.main.get_command(app)
    for each in (group, *getattr(group, "commands", {}).values()):
        each.params += _late_options(each.name)
    return group


def _late_options(name: str | None) -> list[TyperOption]:
    """The options of queuectl itself that people also type after a command's name."""
    options = [_late_option("--db", str, _use_db), _late_option("--context", str, _use_context)]
    if name in NAMES_A_PROGRAM:
        return options
    return [
        *options,
        _late_option("--utc", bool, lambda ctx, wanted: use_utc(wanted), is_eager=True),  # before times are read
        _late_option("--must-exist", bool, lambda ctx, _: ctx.obj.require_queue()),
        _late_option("--no-pager", bool, lambda ctx, _: ctx.obj.print_at_once()),
        _late_option("--color", str, lambda ctx, when: ctx.obj.use_color(when)),
    ]


def _late_option(
    name: str, kind: type, use: Callable[[typer.Context, Any], None], *, is_eager: bool = False
) -> TyperOption:
    def take(ctx: typer.Context, _: Any, value: Any) -> None:
        if value not in (None, False):
            use(ctx, value)

    return TyperOption(
        param_decls=[name],
        type=kind,
        is_flag=kind is bool,
        hidden=True,
        expose_value=False,
        callback=take,
        is_eager=is_eager,
    )


def _use_db(ctx: typer.Context, db: str) -> None:
    refuse_empty("--db", db)
    _run_there(ctx, db)
    ctx.obj.use(db)
    ctx.obj.advise()


def _use_context(ctx: typer.Context, name: str) -> None:
    refuse_empty("--context", name)
    ctx.obj.use_context(name)
    ctx.obj.advise()


def _run_there(ctx: Any, db: str) -> None:
    """Run the command on another host when the queue is there: then this does not return."""
    if db.startswith(_REMOTE):
        from queuectl.cli.remote_host import run_there

        run_there(db, ctx.meta[_ARGUMENTS], os.environ)


def _from_environment(ctx: Any) -> str:
    """The queue that QUEUECTL_DB names, unless an option names one. Contexts are in a file of this machine."""
    names = [word.partition("=")[0] for word in ctx.meta[_ARGUMENTS]]
    is_given = "--db" in names or "--context" in names or ctx.invoked_subcommand == "context"
    return "" if is_given else os.environ.get("QUEUECTL_DB", "")


def new_app(**options: Any) -> typer.Typer:
    """A typer app with the settings that all our commands share."""
    return typer.Typer(
        cls=options.pop("cls", Group),
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=False,
        **options,
    )


def refuse_empty(option: str, given: str | None) -> None:
    """Raise UsageError for an empty text, which names no place."""
    if given == "":
        raise UsageError(f"{option} '': empty text is not allowed")


def _version(wanted: bool) -> None:
    if wanted:
        from queuectl import __version__

        print(f"queuectl {__version__}")
        raise typer.Exit


def _install_completion(wanted: bool) -> None:
    if wanted:
        from queuectl.cli.completion_scripts import install, shell_of

        shell = shell_of(os.environ)
        print(f"{shell} completion installed in {install(shell, os.environ)}: it works in a new shell")
        raise typer.Exit


def _show_completion(wanted: bool) -> None:
    if wanted:
        from queuectl.cli.completion_scripts import SCRIPTS, shell_of

        print(SCRIPTS[shell_of(os.environ)], end="")
        raise typer.Exit


def main(
    ctx: typer.Context,
    db: Annotated[
        str | None, typer.Option("--db", metavar="PATH|URL", help="The queue [default: ./data/queue.db].")
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", metavar="NAME", help="The queue of this name, as `context list` shows.")
    ] = None,
    archive_dir: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Archive folder of a new queue [default: next to it].")
    ] = None,
    must_exist: Annotated[
        bool, typer.Option("--must-exist", help="Fail with exit code 5 if there is no queue; never make one.")
    ] = False,
    color: Annotated[
        str, typer.Option(metavar="auto|always|never", help="Colour the output [default: auto].", show_default=False)
    ] = "auto",
    no_pager: Annotated[bool, typer.Option("--no-pager", help="Print long output at once, without a pager.")] = False,
    utc: Annotated[bool, typer.Option("--utc", help="Read and show times in UTC [default: your time zone].")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            callback=_install_completion,
            is_eager=True,
            help="Install completion for the current shell.",
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            callback=_show_completion,
            is_eager=True,
            help="Print the completion script of the current shell.",
        ),
    ] = False,
) -> None:
    """Run shell commands in the background, with retries and a full history."""
    for option, given in (("--db", db), ("--context", context), ("--archive-dir", archive_dir)):
        refuse_empty(option, given)
    _run_there(ctx, db or _from_environment(ctx))
    use_utc(utc)
    named_by = shlex.split(os.environ.pop(_ADVISED, ""))  # jobs do not get it
    ctx.obj = Session(
        *(db, os.environ, sys.stdout, archive_dir),
        context=context,
        paging=not no_pager,
        named_by=named_by,
        must_exist=must_exist,
    )
    ctx.obj.use_color(color)
    ctx.obj.advise()


def command() -> Any:
    """The root command."""
    app = new_app(cls=LazyGroup, no_args_is_help=True)
    app.callback()(main)
    return typer.main.get_command(app)
