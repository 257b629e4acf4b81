"""A queue in a file, and other processes at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl.store import open_store
from queuectl.store.protocol import Store
from tests.support.builders import SettableClock
from tests.support.peer import Peer


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the queue is."""
    return str(tmp_path / "place" / "queue.db")


@pytest.fixture
def store(path: str, clock: SettableClock) -> Iterator[Store]:
    store = open_store(path, clock)
    yield store
    store.close()


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    """Other processes, ended when the test is over."""
    running: list[Peer] = []
    yield running
    for peer in running:
        peer.end()
