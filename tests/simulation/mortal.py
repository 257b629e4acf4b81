"""A simulated user of a store who may be killed at every point of a transaction."""

from contextlib import contextmanager

from tests.support.overriding import Overriding

__all__ = ["Killed", "Mortal"]


class Killed(BaseException):
    """The process was killed here."""


class Mortal(Overriding):
    """One process's view of the store. `visit` may raise Killed before and after each append and commit."""

    def __init__(self, store, visit):
        super().__init__(store)
        self._visit = visit

    @contextmanager
    def transaction(self, **options):
        with self._store.writer.transaction(**options):
            yield
            self._visit()
        self._visit()

    def append(self, changes, actor):
        self._visit()
        made = self._store.writer.append(changes, actor)
        self._visit()
        return made
