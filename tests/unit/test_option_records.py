"""A record of options is a group of options of the command that takes it."""

from typing import Annotated

import msgspec
import typer
from typer.testing import CliRunner

from queuectl.cli.option_records import with_records


class Where(msgspec.Struct, frozen=True):
    """Two options."""

    queue: Annotated[str | None, typer.Option("--queue", "-q")] = None
    tag: Annotated[list[str] | None, typer.Option("--tag")] = None


class Which(msgspec.Struct, frozen=True):
    """An option, and the two of another record."""

    newest: Annotated[bool, typer.Option("--newest")] = False
    where: Where = Where()


app = typer.Typer()


@app.command()
@with_records
def show(name: str, *, where: Where, loud: bool = False) -> None:
    """Print the options."""
    print(name, where.queue, where.tag, loud)


@app.command()
@with_records
def count(*, which: Which) -> None:
    """Print the options."""
    print(which.newest, which.where.queue, which.where.tag)


def answer(*arguments: str) -> str:
    return CliRunner().invoke(app, arguments).output


def test_fields_of_a_record_are_options_of_the_command() -> None:
    assert answer("show", "a", "-q", "ci", "--tag", "x", "--tag", "y", "--loud") == "a ci ['x', 'y'] True\n"


def test_a_record_without_options_has_its_defaults() -> None:
    assert answer("show", "a") == "a None None False\n"


def test_a_record_may_hold_a_record() -> None:
    assert answer("count", "--queue", "ci", "--newest") == "True ci None\n"
    assert answer("count") == "False None None\n"


def test_help_lists_the_fields_in_the_records_place() -> None:
    shown = answer("show", "--help")
    assert shown.index("--queue") < shown.index("--tag") < shown.index("--loud")
    assert "where" not in shown
