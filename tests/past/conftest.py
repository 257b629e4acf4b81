"""A store whose clock is set, and the installed command line."""

from collections.abc import Iterator

import pytest

from queuectl.store import open_store
from queuectl.store.base import EventStore
from tests.acceptance.conftest import queuectl
from tests.store.vocabulary import SettableClock

__all__ = ["queuectl"]


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def store(clock: SettableClock) -> Iterator[EventStore]:
    opened = open_store(":memory:", clock)
    yield opened
    opened.close()
