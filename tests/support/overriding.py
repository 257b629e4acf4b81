"""A store some of whose members behave otherwise: for tests of who uses it."""

from typing import Any

from queuectl.store.protocol import Store

PARTS = ("log", "writer", "tables", "workers", "upkeep", "location")


class Overriding:
    """Passes everything on to `store`, but the members of its parts that a subclass defines.

    A subclass calls the real ones through `self._store`, and hears of every member that is asked for in `asked_for`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        for name in PARTS:
            setattr(self, name, _Part(self, getattr(store, name)))

    def asked_for(self, name: str) -> None:
        """A member of a part is about to be used."""

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
