"""A store with some members replaced, for tests of the code that uses it."""

from typing import Any

from queuectl.store.protocol import Store

PARTS = (
    *("log", "history", "writer", "tables", "batches", "schedules", "waits"),
    *("workers", "upkeep", "location"),
)


class Overriding:
    """Forwards to `store` all but the members of its parts that a subclass defines.

    A subclass calls the real members through `self._store`; `asked_for` is called before each member is used.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        for name in PARTS:
            setattr(self, name, _Part(self, getattr(store, name)))

    def asked_for(self, name: str) -> None:
        """Called before a member of a part is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class _Part:
    def __init__(self, whole: Overriding, real: object) -> None:
        self._whole, self._real = whole, real

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self._whole), name) and not hasattr(Overriding, name):
            return getattr(self._whole, name)
        self._whole.asked_for(name)
        return getattr(self._real, name)
