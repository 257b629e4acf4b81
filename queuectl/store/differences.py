"""Where the tables are not what the log makes them."""

from msgspec import Struct

__all__ = ["SHOWN", "Difference", "Differences"]

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
