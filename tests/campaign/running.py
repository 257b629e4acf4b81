"""Runs seeds of a campaign until there were enough tries or the time is over, and adds up the results."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from itertools import count, islice

from msgspec import Struct, field

from tests.campaign.plan import Attempt, Campaign, Control, campaign

__all__ = ["Figures", "Limit", "noticed", "run"]


class Limit(Struct, frozen=True):
    """When to stop; what is None does not count."""

    tries: int | None = None
    seeds: int | None = None
    seconds: float | None = None


class Figures(Struct):
    """The tries and their results. `first` has the first seed with each fault, to reproduce it."""

    seed: int
    seeds: int = 0
    tries: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)

    def add(self, seed: int, attempt: Attempt) -> None:
        """One more seed."""
        self.seeds += 1
        self.tries += attempt.tries
        self.faults.update(attempt.faults)
        self.counted.update(attempt.counted)
        self.met.update(attempt.met)
        for fault in attempt.faults:
            self.first[fault] = min(seed, self.first.get(fault, seed))

    def close(self, chosen: Campaign) -> None:
        """Add a fault of the whole run for each thing that so many tries should have met but did not."""
        if self.tries >= chosen.met_within:
            self.faults.update(f"unmet: {each}" for each in chosen.to_meet if not self.met[each])

    def enough(self, limit: Limit) -> bool:
        """Whether a limit is reached."""
        reached = (self.tries, limit.tries), (self.seeds, limit.seeds), (self.seconds, limit.seconds)
        return any(wanted is not None and found >= wanted for found, wanted in reached)


def run(chosen: Campaign, limit: Limit, seed: int = 0, processes: int = 1) -> Figures:
    """Seeds from `seed` on, in so many processes at once; with one of them in this process. Ctrl-C ends it early."""
    figures, began = Figures(seed), time.monotonic()
    seeds = iter(range(seed, chosen.all_seeds())) if chosen.all_seeds else count(seed)
    if limit.seeds is not None:
        seeds = islice(seeds, limit.seeds)
    attempts = _each(chosen, seeds) if processes == 1 else _several(chosen, seeds, processes)
    with suppress(KeyboardInterrupt):
        for at, attempt in attempts:
            figures.add(at, attempt)
            figures.seconds = time.monotonic() - began
            if figures.enough(limit):
                break
    figures.close(chosen)
    return figures


def _each(chosen: Campaign, seeds: Iterator[int]) -> Iterator[tuple[int, Attempt]]:
    for seed in seeds:
        yield seed, chosen.attempt(seed)


def _several(chosen: Campaign, seeds: Iterator[int], processes: int) -> Iterator[tuple[int, Attempt]]:
    """As `_each`, in the order in which they end. Fresh processes: a fork would take open databases with it."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        running: dict[Future[Attempt], int] = {}
        try:
            while True:
                for seed in islice(seeds, processes - len(running)):
                    running[pool.submit(_attempt, chosen.name, seed)] = seed
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()


def _attempt(name: str, seed: int) -> Attempt:
    return campaign(name).attempt(seed)


def noticed(control: Control, seed: int = 0) -> tuple[int, str] | None:
    """The first seed that shows the control's defect, and its fault; None if the campaign does not notice it."""
    for at in range(seed, seed + control.seeds):
        if faults := control.attempt(at).faults:
            return at, faults[0]
    return None
