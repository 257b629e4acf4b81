"""An archive whose disk is gone is said to be, by whoever needs it."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def gone(queuectl) -> Path:
    """Where the archive of a queue was."""
    queuectl.ok("--archive-dir", str(queuectl.folder / "disk"), "enqueue", "--", "true")
    home = Path(os.readlink(f"{queuectl.db}.archive"))
    os.rename(queuectl.folder / "disk", queuectl.folder / "unmounted")
    return home


@pytest.mark.parametrize("command", ["doctor", "verify"])
def test_a_check_names_it_as_a_problem(queuectl, gone, command):
    done = queuectl(command)
    assert done.code == 1
    assert f"the archive at {gone} cannot be reached" in done.out
    assert f"mount the disk of {gone}" in done.out + done.err
    assert "queuectl recover" not in done.out + done.err


def test_work_continues_with_a_warning(queuectl, gone):
    done = queuectl("enqueue", "--", "true")
    assert done.code == 0
    assert f"the archive at {gone} cannot be reached: mount" in done.err


@pytest.mark.parametrize("command", ["status", "list", "enqueue", "run"])
def test_something_else_in_its_place_holds_nobody_up(queuectl, command):
    queuectl.add("true")
    folder = Path(f"{queuectl.db}.archive")
    folder.rename(f"{folder}.away")
    folder.touch()
    done = queuectl(command, *{"enqueue": ["true"], "run": ["--drain"]}.get(command, []))
    assert done.code == 0
    folder.unlink()


@pytest.mark.parametrize("command", ["status", "recover"])
def test_without_the_database_too_it_is_named_and_not_given_up(queuectl, gone, command):
    for name in queuectl.db.parent.glob("queue.db*"):
        if not name.is_symlink() and name.is_file():
            name.unlink()
    done = queuectl(command)
    assert done.code == 5
    assert f"the archive at {gone} cannot be reached" in done.err
    os.rename(queuectl.folder / "unmounted", queuectl.folder / "disk")
    assert queuectl("recover").code == 0
    assert queuectl.json("status")["states"]["pending"] == 1
