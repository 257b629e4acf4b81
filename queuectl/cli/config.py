"""`config show|get|set|unset`: shows every setting and the origin of its value, and changes settings."""

from typing import Annotated

import typer

from queuectl import config as settings
from queuectl.cli.app import new_app
from queuectl.cli.messages import say
from queuectl.cli.option_records import with_records
from queuectl.cli.output import Answer, PastOptions, print_answer
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.render.tables import Column, table
from queuectl.render.terminal import clean

__all__ = ["app"]

app = new_app(help="Show and change the settings.", invoke_without_command=True)

COLUMNS = ("key", Column("value", limit=200), "origin", Column("meaning", limit=1000, least=20))
HELP = "A setting's name, as `config show` lists it."


def _key(text: str | None) -> str | None:
    """The setting's name: people also write it with underscores, as its environment variable has it."""
    return text and text.replace("_", "-")


Key = Annotated[str, typer.Argument(metavar="KEY", callback=_key, help=HELP)]
MaybeKey = Annotated[str | None, typer.Argument(metavar="[KEY]", callback=_key, help=f"{HELP[:-1]} [default: all].")]


@app.callback()
@with_records
def default(ctx: typer.Context, *, options: PastOptions) -> None:
    """Show and change the settings."""
    if ctx.invoked_subcommand is None:
        _show(ctx.obj, options)
        return
    output, as_json = options.shape.output, options.shape.as_json
    for option, given in (("--json", as_json), ("-o", output is not None), ("--as-of", options.as_of is not None)):
        if given:
            raise UsageError(f"{option} goes after the name: queuectl config {ctx.invoked_subcommand} … {option}")


@app.command("list", hidden=True)
@app.command()
@with_records
def show(ctx: typer.Context, *, options: PastOptions) -> None:
    """Show every setting, its value and the origin of the value.

    The origin is one of: flag, environment, .env, config set, default.
    """
    _show(ctx.obj, options)


def _show(session: Session, options: PastOptions) -> None:
    form = options.form(session)
    with session.open_read_only(options.as_of, missing="accept") as queue:
        rows = [_row(value) for value in session.config(queue).all()]
    place = f"queue: {clean(session.place, newlines=False)}{', not made yet' if session.missing else ''}"
    shown = [{**row, "meaning": settings.SETTINGS[row["key"]].help} for row in rows]
    answer = Answer(
        document=rows,
        rows=rows,
        name="key",
        text=lambda look: f"{place}\n{table(shown, COLUMNS, width=look.width)}",
    )
    print_answer(session, form, answer)


@app.command()
@with_records
def get(ctx: typer.Context, key: MaybeKey = None, *, options: PastOptions) -> None:
    """Print the bare value of one setting. Without KEY: show all settings."""
    session: Session = ctx.obj
    if key is None:
        _show(session, options)
        return
    form = options.form(session)
    with session.open_read_only(options.as_of, missing="accept") as queue:
        value = session.config(queue).value(key)
    row = _row(value)
    print_answer(session, form, Answer(document=row, rows=[row], name="key", text=lambda look: value.text))


def _row(value: settings.Value) -> dict[str, str]:
    return {"key": value.key, "value": value.text, "origin": value.origin}


@app.command("set", context_settings={"ignore_unknown_options": True})
def set_value(
    ctx: typer.Context,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Such as 10s, 5m, 10MiB, on, or a number.")],
) -> None:
    """Set a value for everyone who uses this queue. Jobs already added keep their old settings."""
    text = settings.check(key, value)
    with ctx.obj.open() as queue:
        changed = queue.change_setting(key, text)
    say(f"{key} {'is' if changed else 'was already'} {text}")


@app.command()
def unset(ctx: typer.Context, key: Key) -> None:
    """Go back to the default."""
    settings.check(key, settings.SETTINGS[key].default if key in settings.SETTINGS else "")
    with ctx.obj.open_existing() as queue:
        changed = queue.change_setting(key, None)
    say(f"{key} {'is unset' if changed else 'was not set'}")
