"""Where the tables are not what the log makes them."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

__all__ = ["SHOWN", "Difference", "Differences", "contrast"]

SHOWN = 20


class Difference(Struct, frozen=True):
    """A row that is wrong and how; no key: the table itself is."""

    table: str
    key: str | None
    why: str

    def __str__(self) -> str:
        return f"{self.table}: {self.why}" if self.key is None else f"{self.table} {self.key}: {self.why}"


class Differences(Struct):
    """How many there are, and the first of them."""

    total: int = 0
    first: list[Difference] = []

    def add(self, difference: Difference) -> None:
        """Count one more."""
        self.total += 1
        if len(self.first) < SHOWN:
            self.first.append(difference)


def contrast(columns: Sequence[str], log: Sequence[Any], live: Sequence[Any]) -> str:
    """How a row differs, the first column of it in full."""
    if live[0] is None:
        return "the row is missing"
    names = [i for i, (a, b) in enumerate(zip(log, live, strict=True)) if a != b]
    first = names[0]
    more = f", and {len(names) - 1} more columns" if names[1:] else ""
    return f"{columns[first]} is {_short(live[first])}, the log says {_short(log[first])}{more}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
