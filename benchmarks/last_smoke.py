"""Compares a smoke run with the last recorded one. A tenth of its speed is a fault, a smaller difference noise."""

import json
import os
from statistics import median

from benchmarks.result import Result

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "smoke.json")
ABSURD = 10
NOISY = ("percentile", "steady")


def absurd(found: dict[str, list[Result]], page: str = PAGE) -> list[str]:
    """One line for each rate of ours below a tenth of the recorded one, and each time above ten times it.

    High percentiles do not count: in a few samples they are the noisiest sample. Nor do steady rates: they come from
    the difference between two short runs.
    """
    with open(page, encoding="utf-8") as file:
        recorded = {(name, each["case"], each["unit"]): each for name, each in _flat(json.load(file)["benchmarks"])}
    lines = []
    for name, result in ((name, result) for name, results in found.items() for result in results):
        last = recorded.get((name, result.case, result.unit))
        if (
            last is not None
            and not any(word in result.case for word in NOISY)
            and _slower(result.unit, median(result.ours), median(last["queuectl"])) > ABSURD
        ):
            figures = f"{median(result.ours):.4g} {result.unit}, last time {median(last['queuectl']):.4g}"
            lines.append(f"absurd: {name}: {result.case}: {figures}")
    return list(dict.fromkeys(lines))


def _flat(benchmarks: dict[str, list[dict]]) -> list[tuple[str, dict]]:
    return [(name, each) for name, results in benchmarks.items() for each in results]


def _slower(unit: str, now: float, last: float) -> float:
    """How many times slower; 0 for units that are no speed, such as bytes."""
    if unit.endswith("/s"):
        return last / max(now, 1e-9)
    return now / max(last, 1e-9) if unit in {"ms", "s"} else 0.0
