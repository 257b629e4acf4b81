"""Fixtures that several folders use, and the choice of the tests in the default tier.

`python -m pytest` without a path runs the default tier: every kind of test, in three minutes on two cores, without a
server. `python -m pytest -m ''` runs all tests; a path runs all tests below it.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import postgres
from tests.support.builders import SettableClock
from tests.support.command_line import PROGRAM, Queuectl
from tests.support.peer import Peer
from tests.support.signals import use_default_signals
from tests.support.tiers import FULL_ONLY, is_full_only

use_default_signals()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Run all tests below a given path; forbid the default tier to start a server."""
    if hasattr(config, "workerinput"):  # a process of xdist has the choice of the one that started it
        config.option.markexpr = config.workerinput["markexpr"]
        return
    if config.args_source is pytest.Config.ArgsSource.ARGS and config.option.markexpr == f"not {FULL_ONLY}":
        config.option.markexpr = ""


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the choice to an xdist worker, which would read the default from pyproject.toml again."""
    node.workerinput["markexpr"] = node.config.option.markexpr


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that are not in the default tier."""
    postgres.allowed = config.option.markexpr != f"not {FULL_ONLY}"
    for item in items:
        if is_full_only(item):
            item.add_marker(FULL_ONLY)


# ── fixtures ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The path for a SQLite queue."""
    return str(tmp_path / "place" / "queue.db")


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    """Other processes; they end with the test."""
    running: list[Peer] = []
    yield running
    for peer in running:
        peer.end()


@pytest.fixture
def queuectl(tmp_path: Path) -> Iterator[Queuectl]:
    """The command line. At the end its processes are stopped, and the log and the audit must have no fault."""
    assert os.access(PROGRAM, os.X_OK), f"{PROGRAM} is not installed: pip install -e '.[test]'"
    command_line = Queuectl(tmp_path)
    try:
        yield command_line
    finally:
        command_line.stop()
    command_line.check()


@pytest.fixture
def namespace() -> list[str]:
    """The words before a command that give it a mount namespace of its own."""
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        done = subprocess.run([*command, "true"], capture_output=True, timeout=10, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here, so no mounts of a test's own")
    if done.returncode:
        pytest.skip(f"mounts of a test's own are not allowed here: {done.stderr.decode().strip()}")
    return command
