"""All tests: the surroundings and fixtures that several folders use, and which tests are in the default tier.

`python -m pytest` without a path runs the default tier: every kind of test, in three minutes on two cores, and nothing
that needs a server. `python -m pytest -m ''` runs everything, and so does a path for what is below it.
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
from tests.support.signals import keep_from_children
from tests.support.tiers import FULL_ONLY, is_full_only

keep_from_children()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Run all that is below a path that was given; see to it that the default tier starts no server."""
    if hasattr(config, "workerinput"):  # a process of xdist has the choice of the one that started it
        config.option.markexpr = config.workerinput["markexpr"]
        return
    if config.args_source is pytest.Config.ArgsSource.ARGS and config.option.markexpr == f"not {FULL_ONLY}":
        config.option.markexpr = ""


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the choice to a process of xdist, which would read the default from pyproject.toml again."""
    node.workerinput["markexpr"] = node.config.option.markexpr


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is not in the default tier."""
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
    """Where a SQLite queue can be."""
    return str(tmp_path / "place" / "queue.db")


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    """Other processes, ended when the test is over."""
    running: list[Peer] = []
    yield running
    for peer in running:
        peer.end()


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
