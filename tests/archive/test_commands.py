"""`export`, `import` and `backup` as commands: what they say, the exit codes, and what they leave behind."""

import subprocess

from tests.acceptance.cli import PROGRAM
from tests.acceptance.conftest import queuectl

__all__ = ["queuectl"]


def test_an_export_whose_reader_goes_away_ends_like_every_closed_pipe(queuectl):
    queuectl.add("true")
    export = subprocess.Popen([PROGRAM, "export", "-"], cwd=queuectl.folder, env=queuectl.env, stdout=subprocess.PIPE)
    export.stdout.close()
    assert export.wait(30) == 141
