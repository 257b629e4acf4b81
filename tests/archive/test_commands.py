"""`export`, `import` and `backup` as commands: what they say, the exit codes, and what they leave behind."""

import subprocess

import pytest

from tests.acceptance.cli import PROGRAM
from tests.acceptance.conftest import queuectl

__all__ = ["queuectl"]


def test_an_export_whose_reader_goes_away_ends_like_every_closed_pipe(queuectl):
    queuectl.add("true")
    export = subprocess.Popen([PROGRAM, "export", "-"], cwd=queuectl.folder, env=queuectl.env, stdout=subprocess.PIPE)
    export.stdout.close()
    assert export.wait(30) == 141


@pytest.mark.parametrize("command", [["export", "-"], ["backup", "copy.db"], ["head"], ["verify"]])
def test_a_queue_that_is_not_there_is_not_taken_for_an_empty_one(queuectl, command):
    done = queuectl("--db", "typo.db", *command)
    assert (done.code, done.out) == (5, "")
    assert f"there is no queue at {queuectl.folder / 'typo.db'}" in done.err
    assert list(queuectl.folder.iterdir()) == []


def test_a_backup_into_a_folder_that_is_not_there_names_the_folder(queuectl):
    queuectl.add("true")
    done = queuectl("backup", "nowhere/copy.db")
    assert done.code == 2
    assert "there is no folder nowhere" in done.err
    queuectl.ok("backup", "copy.db")
