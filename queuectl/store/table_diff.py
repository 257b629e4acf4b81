"""Differences between the tables and the log."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

__all__ = ["SHOWN", "Difference", "Differences", "contrast"]

SHOWN = 20
"""The number of differences that are described, not only counted."""


class Difference(Struct, frozen=True):
    """One wrong row: its table, its key, and how it differs. Without a key the table as a whole is wrong."""

    table: str
    key: str | None
    why: str

    def __str__(self) -> str:
        return f"{self.table}: {self.why}" if self.key is None else f"{self.table} {self.key}: {self.why}"


class Differences(Struct):
    """The number of wrong rows, and the first 20 of them."""

    total: int = 0
    first: list[Difference] = []

    def add(self, difference: Difference) -> None:
        """Count a difference; remember it if it is among the first 20."""
        self.total += 1
        if len(self.first) < SHOWN:
            self.first.append(difference)


def contrast(columns: Sequence[str], log: Sequence[Any], live: Sequence[Any]) -> str:
    """How a live row differs from the one derived from the log; names the first column that differs."""
    if live[0] is None:
        return "the row is missing"
    names = [i for i, (a, b) in enumerate(zip(log, live, strict=True)) if a != b]
    first = names[0]
    more = f", and {len(names) - 1} more columns" if names[1:] else ""
    return f"{columns[first]} is {_short(live[first])}, the log says {_short(log[first])}{more}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
