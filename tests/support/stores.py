"""The kinds of store under test: the only file of the conformance suite that distinguishes them.

A new kind is one more entry in `KINDS`, and in `SHARED` when several processes can open it. On PostgreSQL each log
is a schema of its own on one server, which is started for the first test that needs it.
"""

from collections.abc import Callable
from pathlib import Path

from queuectl.runtime import Clock
from queuectl.store import open_store
from queuectl.store.protocol import Store
from tests.support.postgres import server

KINDS: dict[str, Callable[[Path, int], str]] = {
    "memory": lambda folder, number: ":memory:",
    "file": lambda folder, number: str(folder / f"place-{number}" / "queue.db"),
    "postgres": lambda folder, number: server().new_url(),
}
"""Name -> the URL of the n-th new log of a test."""

SHARED = ("file", "postgres")


class Places:
    """Opens stores, and closes all of them at the end."""

    def __init__(self, kind: str, folder: Path, clock: Clock) -> None:
        self._kind, self._folder, self._clock = kind, folder, clock
        self._made = 0
        self._open: list[Store] = []

    def new_url(self) -> str:
        """The URL or path of a new store."""
        self._made += 1
        return KINDS[self._kind](self._folder, self._made)

    def open(self, url: str, clock: Clock | None = None) -> Store:
        """Open another connection to the log there."""
        store = open_store(url, clock or self._clock)
        self._open.append(store)
        return store

    def new_store(self, clock: Clock | None = None) -> Store:
        """Open a new, empty store."""
        return self.open(self.new_url(), clock)

    def close(self) -> None:
        while self._open:
            self._open.pop().close()
