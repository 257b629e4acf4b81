"""Ranges of a log checked as by several processes, but in this one: to compare many answers quickly."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import Any, Self


class InProcess:
    """In the place of `parallel.Children`: works on the parts itself, each child's with a store of its own."""

    def __init__(self, entry: str, setup: object, processes: int) -> None:
        self._exits, self._parts = ExitStack(), list[tuple[int, object]]()
        module, _, name = entry.partition(":")
        opened = getattr(import_module(module), name)
        self._workers = [self._exits.enter_context(opened(setup)) for _ in range(processes)]
        self._given = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def give(self, parts: Iterable[object]) -> None:
        """See Children."""
        for part in parts:
            self._parts.append((self._given, part))
            self._given += 1

    def results(self) -> Iterator[tuple[int, Any]]:
        """See Children. The last part comes first."""
        while self._parts:
            number, part = self._parts.pop()
            for result in self._workers[number % len(self._workers)](part):
                yield number, result
