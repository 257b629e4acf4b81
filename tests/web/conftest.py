"""Queues that are served in this process."""

from collections.abc import Iterator

import pytest

from queuectl.application.queue import Queue
from queuectl.web import pages
from queuectl.web.site import Rights
from tests.web.client import Client, served


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page waits for an earlier moment, also on a slow machine."""
    monkeypatch.setattr(pages, "PATIENCE", 20)


@pytest.fixture
def site(path: str) -> Iterator[tuple[Client, Queue]]:
    """A client with all rights, and the queue that it reaches."""
    with served(path, Rights(allow_enqueue=True)) as found:
        yield found


@pytest.fixture
def client(site: tuple[Client, Queue]) -> Client:
    return site[0]


@pytest.fixture
def queue(site: tuple[Client, Queue]) -> Queue:
    return site[1]
