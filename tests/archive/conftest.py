"""A queue in a file, and other processes that use it."""

from collections.abc import Iterator

import pytest

from queuectl.store import open_store
from queuectl.store.protocol import Store
from tests.support.builders import SettableClock
from tests.support.queues import WARNING


@pytest.fixture
def store(path: str, clock: SettableClock) -> Iterator[Store]:
    store = open_store(path, clock, WARNING)
    yield store
    store.close()
