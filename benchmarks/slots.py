"""Running `true` many times in 2, 8 and 32 slots, and sleeps of 5 ms in 2: the queue's own cost for each job."""

import os
import sys
from functools import partial
from statistics import median

from benchmarks import queue
from benchmarks.peers import installed
from benchmarks.plan import Plan, folder, in_turn
from benchmarks.process import timed
from benchmarks.result import Result, Target, against, at_least

TARGETS = {2: at_least(0.7), 8: at_least(0.75)}
FLOOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "floor.py")
PUEUE_JOBS_PER_SLOT = 12  # its daemon starts about three a second in each slot


def measure(plan: Plan) -> list[Result]:
    """Every number of slots: whole runs, the steady rate without start-up, and the other queues."""
    return [
        *(result for slots in (2, 8, 32) for result in _with_slots(plan, slots)),
        *_short_sleeps(plan, "sleep 0.005", {"xargs": at_least(0.95)}),
        *_short_sleeps(plan, "exec sleep 0.005", {}),
    ]


def _with_slots(plan: Plan, slots: int) -> list[Result]:
    jobs = plan.size(2000, 40)
    with folder("slots") as home:
        short, long = _lines(home, jobs), _lines(home, 3 * jobs)
        sides = {
            "queuectl": partial(_queuectl, home, short, slots),
            "queuectl, long": partial(_queuectl, home, long, slots),
            "xargs": partial(_xargs, short, slots),
            "xargs, long": partial(_xargs, long, slots),
            "floor": partial(_floor, slots, jobs),
        }
        times = in_turn(sides, plan.rounds(5))
        rates = _rates(times, "", jobs)
        results = [
            *against(f"{slots} slots, {jobs} jobs", "jobs/s", rates, {"xargs": TARGETS.get(slots)}),
            *against(f"{slots} slots, {3 * jobs} jobs", "jobs/s", _rates(times, ", long", 3 * jobs), {}),
            *against(f"{slots} slots, steady", "jobs/s", _steady(times, jobs), {"xargs": TARGETS.get(slots)}),
        ]
        floor = {"floor (Python loop)": [jobs / seconds for seconds in times["floor"]]}
        peers = _peers(plan, home, slots) | {"queuectl": rates["queuectl"]}
        return [
            *results,
            *against(f"{slots} slots, {jobs} jobs", "jobs/s", {"queuectl": rates["queuectl"]} | floor, {}),
            *against(f"{slots} slots, {jobs} jobs", "jobs/s", peers, {}),
        ]


def _short_sleeps(plan: Plan, command: str, targets: dict[str, Target]) -> list[Result]:
    """Jobs that take 5 ms: the queue's own work fits into the time in which they sleep. Only `exec` needs a shell."""
    jobs = plan.size(1000, 20)
    with folder("sleeps") as home:
        lines = _lines(home, jobs, command)
        sides = {"queuectl": partial(_queuectl, home, lines, 2), "xargs": partial(_xargs, lines, 2, command)}
        rates = _rates(in_turn(sides, plan.rounds(5)), "", jobs)
        return against(f"2 slots, {jobs} jobs `{command}`", "jobs/s", rates, targets)


def _lines(home: str, jobs: int, command: str = "true") -> str:
    """A file with `jobs` lines of a command: our jobs, and the arguments of xargs."""
    path = f"{home}/{jobs}.txt"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{command}\n" * jobs)
    return path


def _queuectl(home: str, lines: str, slots: int) -> float:
    """Fills a new queue, then times the whole `run --drain`."""
    with folder("queue") as place:
        db = f"{place}/queue.db"
        queue.enqueue_file(db, lines)
        return timed(queue.command(db, "run", "--drain", "--concurrency", str(slots)), limit=300)


def _xargs(lines: str, slots: int, command: str = "true") -> float:
    return timed(["xargs", f"-P{slots}", "-I{}", "sh", "-c", command], stdin=lines, limit=300)


def _floor(slots: int, jobs: int) -> float:
    with folder("floor") as home:
        script = f'cd "$0" && exec "$1" "{FLOOR}" {slots} {jobs} true'
        return timed(["sh", "-c", script, home, sys.executable], limit=300)


def _parallel(lines: str, slots: int) -> float:
    return timed(["parallel", "--will-cite", f"-j{slots}", "-N1", "true", "#"], stdin=lines, limit=300)


def _rates(times: dict[str, list[float]], suffix: str, jobs: int) -> dict[str, list[float]]:
    return {name: [jobs / seconds for seconds in times[name + suffix]] for name in ("queuectl", "xargs")}


def _steady(times: dict[str, list[float]], jobs: int) -> dict[str, list[float]]:
    """Jobs a second between the medians of the short runs and of the long ones."""
    return {name: [2 * jobs / (median(times[f"{name}, long"]) - median(times[name]))] for name in ("queuectl", "xargs")}


def _peers(plan: Plan, home: str, slots: int) -> dict[str, list[float]]:
    """The other queues: slower, so with fewer jobs and rounds."""
    jobs, rates = plan.size(400, 2 * slots), {}
    if plan.has_program("parallel"):
        rates["parallel"] = [jobs / _parallel(_lines(home, jobs), slots) for _ in range(plan.rounds(3))]
    for _ in range(plan.rounds(3)):
        with installed(plan, slots) as peers:
            for name, peer in peers.items():
                count = jobs if name != "pueue" else slots * plan.size(PUEUE_JOBS_PER_SLOT, 1)
                rates.setdefault(name, []).append(count / peer.drain(count))
    return rates
