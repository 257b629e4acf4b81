"""An archive on a missing disk is reported by each command that needs it."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def gone(queuectl) -> Path:
    """The folder of a queue's archive, which was removed."""
    queuectl.ok("--archive-dir", str(queuectl.folder / "disk"), "enqueue", "--", "true")
    home = Path(os.readlink(f"{queuectl.db}.archive"))
    os.rename(queuectl.folder / "disk", queuectl.folder / "unmounted")
    return home


@pytest.mark.parametrize("command", ["doctor", "verify"])
def test_a_missing_archive_disk_is_a_problem_for_checks(queuectl, gone, command):
    done = queuectl(command)
    assert done.code == 1
    assert f"the archive at {gone} cannot be reached" in done.out
    assert f"mount the disk of {gone}" in done.out + done.err
    assert "queuectl recover" not in done.out + done.err


def test_a_missing_archive_disk_is_a_warning_for_workers(queuectl, gone):
    done = queuectl("enqueue", "--", "true")
    assert done.code == 0
    assert f"the archive at {gone} cannot be reached: mount" in done.err


@pytest.mark.parametrize("command", ["status", "list", "enqueue", "run"])
def test_another_file_in_its_place_delays_no_command(queuectl, command):
    queuectl.add("true")
    folder = Path(f"{queuectl.db}.archive")
    folder.rename(f"{folder}.away")
    folder.touch()
    done = queuectl(command, *{"enqueue": ["true"], "run": ["--drain"]}.get(command, []))
    assert done.code == 0
    folder.unlink()


@pytest.mark.parametrize("command", ["status", "recover"])
def test_recover_names_a_missing_archive_disk(queuectl, gone, command):
    for name in queuectl.db.parent.glob("queue.db*"):
        if not name.is_symlink() and name.is_file():
            name.unlink()
    done = queuectl(command)
    assert done.code == 5
    assert f"the archive at {gone} cannot be reached" in done.err
    os.rename(queuectl.folder / "unmounted", queuectl.folder / "disk")
    assert queuectl("recover").code == 0
    assert queuectl.json("status")["states"]["pending"] == 1
