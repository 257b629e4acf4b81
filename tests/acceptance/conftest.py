"""The fixture of the acceptance tests: an installed `queuectl` in an empty folder."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import PROGRAM, Queuectl


@pytest.fixture
def queuectl(tmp_path: Path) -> Iterator[Queuectl]:
    """The command line. At the end whatever it started is stopped; log and behaviour have to be sound."""
    assert os.access(PROGRAM, os.X_OK), f"{PROGRAM} is not installed: pip install -e '.[test]'"
    command_line = Queuectl(tmp_path)
    try:
        yield command_line
    finally:
        command_line.stop()
    command_line.check()


@pytest.fixture
def namespace() -> list[str]:
    """The command line that runs what follows it with mounts of its own, which go away with it."""
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        done = subprocess.run([*command, "true"], capture_output=True, timeout=10, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here, so no mounts of a test's own")
    if done.returncode:
        pytest.skip(f"mounts of a test's own are not allowed here: {done.stderr.decode().strip()}")
    return command
