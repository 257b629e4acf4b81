"""Adding 20,000 jobs through the Python API, compared with other queues on SQLite that also wait for the disk."""

from functools import partial

from benchmarks import library
from benchmarks.plan import PACKAGES, Plan, in_turn
from benchmarks.result import Result, against

BATCHING = ("queuectl", "litequeue", "persistqueue")


def measure(plan: Plan) -> list[Result]:
    """One at a time, each on disk before the next; and all in one transaction, where the library can."""
    names = ["queuectl", *(name for name in PACKAGES if plan.has_package(name))]
    return [
        *_measure(plan, "each", names, "jobs, one at a time"),
        *_measure(plan, "batch", [name for name in names if name in BATCHING], "jobs, one transaction"),
    ]


def _measure(plan: Plan, mode: str, names: list[str], case: str) -> list[Result]:
    jobs = plan.size(20_000, 50)
    sides = {name: partial(library.seconds, name, mode, jobs) for name in names}
    times = in_turn(sides, plan.rounds(3))
    rates = {name: [jobs / seconds for seconds in values] for name, values in times.items()}
    return against(f"{jobs:,} {case}", "jobs/s", rates, {})
