"""The result of `verify`: the first problems in the order of the log, and how many there are of each kind.

A problem that follows from another one (a missing version where an event is damaged) is not reported, so that one bad
byte gives one bad position.
"""

from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass, field

from msgspec import Struct
from msgspec.structs import replace

from queuectl.store.errors import RECOVER
from queuectl.store.protocol import Store
from queuectl.store.rows import Head

__all__ = ["COMPARE", "REBUILD", "Problem", "Report"]

SHOWN = 20
REMEMBERED = 10_000
"""How many damaged positions, and how many doubts, are stored. Further ones are only counted."""

REBUILD = "queuectl rebuild"
COMPARE = (
    "the log was cut or changed after that head was noted: compare it with a backup from then (no command undoes it)"
)
_NOWHERE = 1 << 63


class Problem(Struct, frozen=True):
    """One problem. Problems are ordered by position in the log; those without a position come last."""

    place: int
    kind: str
    what: str
    remedy: str
    stream_id: str | None = None

    @property
    def position(self) -> int | None:
        """The position in the log; None when the problem has none."""
        return None if self.place == _NOWHERE else self.place


def _order(problem: Problem) -> tuple[int, str, str]:
    """The sort key. Whole structs cannot be compared, because the last field may be None."""
    return problem.place, problem.kind, problem.what


class Doubt(Struct, frozen=True):
    """A possible problem: it is dropped if an event from `after` to `until` is damaged, which would explain it."""

    after: int
    until: int
    problem: Problem


@dataclass(slots=True)
class Report:
    """How many events were read, how many problems of each kind there are, and the first problems."""

    head: Head
    events: int = 0
    missing_events: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: list[Problem] = field(default_factory=list)
    _damaged: list[int] = field(default_factory=list)
    _doubts: list[Doubt] = field(default_factory=list)

    def add(self, kind: str, place: int | None, what: str, remedy: str = RECOVER, stream_id: str | None = None) -> None:
        """Count a problem, and store it if it is among the first."""
        self._count(Problem(_NOWHERE if place is None else place, kind, what, remedy, stream_id))

    def _count(self, problem: Problem) -> None:
        self.counts[problem.kind] += 1
        insort(self.first, problem, key=_order)
        del self.first[SHOWN:]

    def damaged(self, kind: str, place: int, what: str, stream_id: str, remedy: str) -> None:
        """Add a damaged event. It explains possible problems at its position."""
        self.add(kind, place, what, remedy, stream_id)
        self._explain(place)

    def missing(self, first: int, last: int, more: str = "") -> None:
        """Add events that are missing from the log."""
        what = "it is missing" if first == last else f"it and all up to {last} are missing"
        self.add("missing", first, f"{what}{more and f', {more}'}")
        self._explain(first)
        self._explain(last)
        self.missing_events += max(0, min(last, self.head.position) - first + 1)

    def _explain(self, place: int) -> None:
        if len(self._damaged) < REMEMBERED:
            self._damaged.append(place)

    def doubt(self, kind: str, after: int, place: int, what: str, stream_id: str | None = None) -> None:
        """Add a possible problem at `place`, dropped later if an event from `after` to `place` is damaged."""
        self._doubt(Doubt(after, place, Problem(place, kind, what, RECOVER, stream_id)))

    def _doubt(self, doubt: Doubt) -> None:
        if len(self._doubts) < REMEMBERED:
            self._doubts.append(doubt)
        else:
            self._count(doubt.problem)

    def merge(self, part: "Report") -> None:
        """Add the results for another part of the log, before `settle`, as if they had been found here."""
        self.events += part.events
        self.missing_events += part.missing_events
        self.counts.update(part.counts)
        self.first = sorted(self.first + part.first, key=_order)[:SHOWN]
        self._damaged += part._damaged[: REMEMBERED - len(self._damaged)]
        for doubt in part._doubts:
            self._doubt(doubt)

    def advise(self, store: Store) -> None:
        """Adapt the remedies to the kind of store."""
        remedies = store.location.remedies
        self.first = [replace(each, remedy=remedies.advised(each.remedy, each.kind)) for each in self.first]

    def settle(self) -> None:
        """Count the possible problems that no damaged event explains."""
        self._damaged.sort()
        for doubt in self._doubts:
            nearest = bisect_left(self._damaged, doubt.after)
            if nearest == len(self._damaged) or self._damaged[nearest] > doubt.until:
                self._count(doubt.problem)
        self._doubts.clear()
        self.counts = +self.counts
