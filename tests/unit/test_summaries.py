"""The list of all commands is made without the commands' modules."""

import subprocess
import sys

import pytest

from queuectl.cli.app import COMMANDS, command
from queuectl.cli.summaries import SUMMARIES


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_the_first_sentence_of_the_help(name: str) -> None:
    assert SUMMARIES[name] == command().get_command(None, name).get_short_help_str(500)


@pytest.mark.parametrize("arguments", [["--help"], [""]], ids=["help", "completion"])
def test_a_list_of_all_commands_loads_none(arguments: list[str]) -> None:
    script = (
        "import sys; from queuectl.cli import run\ntry: run(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith(('queuectl.cli.queries', 'queuectl.cli.schedule'))])"
    )
    environ = {"_QUEUECTL_COMPLETE": "fish"} if arguments == [""] else {}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    assert "failures" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
