"""Claiming, `status` and `list` in small and very large queues. None of them may scan."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import builder, queue
from benchmarks.plan import Plan, folder, in_turn
from benchmarks.process import timed
from benchmarks.result import Result, Target, at_most

if TYPE_CHECKING:
    from queuectl.application.queue import Queue

KEPT_FROM = 100_000  # smaller queues are made anew, larger ones may be kept between runs


def measure(plan: Plan) -> list[Result]:
    """Each large queue compared with the smallest one."""
    with folder("claim") as home:
        databases = _databases(plan, home)
        with ExitStack() as stack:
            queues = {name: stack.enter_context(queue.opened(db)) for name, db in databases.items()}
            claims = _in_process(queues, _claim, plan.size(200, 10))
            choices = _in_process(queues, _choose, plan.size(200, 10))
        return [
            *_against_smallest("claim", claims, at_most(1.5)),
            *_against_smallest("choosing alone", choices),
            *_whole_process("status", plan, databases),
            *_whole_process("list --limit 50", plan, databases),
        ]


def _databases(plan: Plan, home: str) -> dict[str, str]:
    """The queues by what is in them, the smallest first."""
    found = {}
    for size in (100, 1000) if plan.smoke else (1000, 100_000, 1_000_000):
        place = plan.keep if plan.keep and size >= KEPT_FROM else home
        base = _build(place, size, "plain", None, builder.done_jobs, builder.pending_jobs)
        found[f"{size:,} pending, {size:,} done"] = base
    found[f"and {size:,} of higher priority, not due"] = _build(place, size, "future", base, builder.future_jobs)
    found[f"and {size:,} in a paused queue"] = _build(place, size, "paused", base, builder.paused_jobs)
    return found


def _build(place: str, size: int, name: str, base: str | None, *kinds: Callable[[str, int], None]) -> str:
    return builder.build(os.path.join(place, f"{size}-{name}.db"), base, size, kinds)


def _in_process(queues: dict[str, "Queue"], action: Callable[["Queue"], None], samples: int) -> dict[str, list[float]]:
    """Milliseconds of an action on each open queue; the first three of each warm its cache and do not count."""
    times = in_turn({name: partial(_milliseconds, action, opened) for name, opened in queues.items()}, samples + 3)
    return {name: values[3:] for name, values in times.items()}


def _milliseconds(action: Callable[["Queue"], None], opened: "Queue") -> float:
    started = time.perf_counter()
    action(opened)
    return 1000 * (time.perf_counter() - started)


def _claim(opened: "Queue") -> None:
    """The whole transaction that a worker makes for one free slot."""
    if not opened.claim(queue.claimant(), (), 1, lambda job: True):
        raise RuntimeError("nothing to claim")


def _choose(opened: "Queue") -> None:
    """The reading part of a claim."""
    opened.store.tables.claimable((), 1, opened.store.log.now())


def _whole_process(verb: str, plan: Plan, databases: dict[str, str]) -> list[Result]:
    sides = {name: partial(timed, queue.command(db, *verb.split())) for name, db in databases.items()}
    in_turn(sides, 1)
    times = in_turn(sides, plan.rounds(10))
    return _against_smallest(
        f"`{verb}`", {name: [1000 * seconds for seconds in values] for name, values in times.items()}
    )


def _against_smallest(what: str, samples: dict[str, list[float]], target: Target | None = None) -> list[Result]:
    (yardstick, theirs), *others = samples.items()
    return [Result(f"{what}: {name}", "ms", values, yardstick, theirs, target) for name, values in others]
