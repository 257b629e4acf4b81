"""Options that several commands share."""

import pytest
import typer

from queuectl.cli.options import how_many
from queuectl.cli.run import RunOptions
from queuectl.cli.workers import start


def declared(holder, parameter):
    """The option as a command, or a record of options, declares it."""
    return holder.__annotations__[parameter].__metadata__[0]


@pytest.mark.parametrize(("holder", "parameter", "most"), [(RunOptions, "concurrency", 1000), (start, "count", 256)])
def test_the_help_has_the_range_that_is_held(holder, parameter, most):
    option = declared(holder, parameter)
    assert option.help.endswith(f"(1 to {most}) [default: 1].")
    assert [option.callback(value) for value in (1, most)] == [1, most]
    for value in (0, most + 1):
        with pytest.raises(typer.BadParameter, match="out of range"):
            option.callback(value)


def test_a_number_is_shown_without_its_range_a_second_time():
    option = how_many("--many", "-m", most=9, what="How many things")
    assert (option.metavar, option.show_default) == ("N", False)
    assert option.help == "How many things (1 to 9) [default: 1]."
