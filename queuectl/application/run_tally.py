"""Counts of ended runs by outcome, with their waits and durations, per queue: counted from the log, by position."""

import os
from bisect import bisect_left
from collections.abc import Callable

import msgspec
from msgspec import Struct

from queuectl.application.runs import CLAIMED, Run, runs, slots
from queuectl.errors import UsageError, reason_of
from queuectl.replacement import replace_file
from queuectl.store.protocol import Store

__all__ = ["BUCKETS", "Histogram", "RunTally", "load_tally", "save_tally"]

BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
"""The upper limits of the buckets, in seconds. They are fixed, so that histograms of several queues can be added."""
PAGE = 10_000
"""Positions that are read before progress is reported."""


class Histogram(Struct):
    """Counts of durations by bucket (the last one has no limit), and their sum in seconds."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def merge(self, other: "Histogram") -> None:
        """Add what another one has counted."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class RunTally(Struct):
    """The runs of a log up to the position `after`, from where `read` continues. Its memory grows with the queues."""

    log_id: str
    after: int
    ended: dict[str, dict[str, int]] = {}
    took: dict[str, Histogram] = {}
    waited: dict[str, Histogram] = {}
    slots: dict[str, dict[str, int]] = {}

    def read(
        self,
        store: Store,
        until: int,
        reached: Callable[[int], None] = lambda position: None,
        counted: Callable[[Run], None] = lambda run: None,
    ) -> None:
        """Count the runs up to a position. `reached` is called now and then with the position, `counted` for each run.

        A page that cannot be read counts nothing, so it can be read again.
        """
        for start in range(self.after, until, PAGE):
            end = min(start + PAGE, until)
            found, fired = [*runs(store.history, start, end)], [*slots(store.history, start, end)]
            for run in found:
                counted(run)
                if run.type == CLAIMED:
                    self.waited.setdefault(run.queue, Histogram()).add(run.waited)
                else:
                    outcomes = self.ended.setdefault(run.queue, {})
                    outcomes[run.type] = outcomes.get(run.type, 0) + 1
                    self.took.setdefault(run.queue, Histogram()).add(run.took)
            for name, result, number in fired:
                results = self.slots.setdefault(name, {})
                results[result] = results.get(result, 0) + number
            self.after = end
            reached(end)


def load_tally(store: Store, path: str | None) -> RunTally:
    """The tally in a file, if it is one of this log; else one that begins with the log. Raises UsageError."""
    base = store.log.base.position
    if path is not None and os.path.exists(path):
        try:
            with open(path, "rb") as file:
                found = msgspec.json.decode(file.read(), type=RunTally)
        except (OSError, msgspec.MsgspecError) as error:
            raise UsageError(f"{path} holds no counts of queuectl ({error}): remove it, or name another file") from None
        if found.log_id == store.log.log_id and base <= found.after <= store.log.head().position:
            return found
    return RunTally(store.log.log_id, base)


def save_tally(tally: RunTally, path: str) -> None:
    """Write a tally to a file, which is replaced at once. Raises UsageError."""
    try:
        replace_file(path, msgspec.json.encode(tally))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {reason_of(error)}") from None
