"""The limits of one log: appending and working with more and more processes, and one log compared with two, near and
far.

All writers of a log wait for its lock, so its rate is what one holder at a time can do. Two logs (here: two schemas of
one database) have two locks. With few processors these are the limit; at a distance from the server, the lock is.
"""

import os
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import postgres_crew, queue
from benchmarks.plan import Plan, in_turn
from benchmarks.postgres_library import DISTANCE
from benchmarks.postgres_line import trips
from benchmarks.postgres_server import database
from benchmarks.result import Result

if TYPE_CHECKING:
    from queuectl.application.queue import Queue
    from queuectl.domain.job import Job
    from tests.support.postgres import Server

WIDTHS = (1, 2, 4, 8, 16, 32)
AWAY = 0.001
"""Seconds of a round trip to a server that is not near; simulated, by a pause before each statement."""


def measure(plan: Plan, server: "Server") -> list[Result]:
    """How long the lock is held, in round trips; appends a second; jobs a second on one log and on two."""
    return [*_holding(server), *_appending(plan, server), *_side_by_side(plan, server)]


def _holding(server: "Server") -> list[Result]:
    """Counted, so the same on every machine."""
    found: dict[str, float] = {}
    with database(server) as url, queue.opened(url, os.path.abspath("home")) as opened:
        opened.enqueue([queue.job() for _ in range(20)])
        for count in (1, 10):
            with trips() as adding:
                opened.enqueue([queue.job() for _ in range(count)])
            with trips() as claiming:
                jobs = _claim(opened, count)
            with trips() as both, opened.store.writer.transaction():
                _finish(opened, jobs)
                jobs = _claim(opened, count)
            with trips() as finishing:
                _finish(opened, jobs)
            turns = {"adding": adding, "claiming": claiming, "finishing": finishing, "finishing and claiming": both}
            for what, made in turns.items():
                found[f"{what} {count} job{'s' if count > 1 else ''}"] = len(made)
    return [Result(f"the lock held: {what}", "round trips", [made]) for what, made in found.items()]


def _claim(opened: "Queue", count: int) -> list["Job"]:
    return opened.claim(queue.claimant(), (), count, lambda job: True)


def _finish(opened: "Queue", jobs: list["Job"]) -> None:
    from queuectl.domain.commands import Exit, Report

    opened.execute([Report(job.id, job.run, Exit()) for job in jobs], {job.id: job for job in jobs})


def _appending(plan: Plan, server: "Server") -> list[Result]:
    found = []
    for step, size, total in (("each", 1, 1600), ("hundreds", 100, 32_000)):
        events = plan.size(total, 32 * size)
        for width in WIDTHS[:2] if plan.smoke else WIDTHS:
            sides = {"": partial(_rate, server, step, events // size // width, [""] * width, 0.0)}
            rates = [size * rate for rate in in_turn(sides, plan.rounds(3))[""]]
            case = f"appending, {size} event{'s' if size > 1 else ''} a transaction, {width} at once"
            found.append(Result(case, "events/s", rates))
    return found


def _side_by_side(plan: Plan, server: "Server") -> list[Result]:
    """The same number of processes, on one log and divided between two."""
    found = []
    for away in (0.0, AWAY):
        for width in (2,) if plan.smoke else (4, 8):
            jobs = plan.size(1200, 40)
            sides = {logs: partial(_work, server, jobs, ["one", logs] * (width // 2), away) for logs in ("one", "two")}
            rates = {logs: [jobs / taken for taken in times] for logs, times in in_turn(sides, plan.rounds(3)).items()}
            where = f"{1000 * away:g} ms from the server" if away else "on the host of the server"
            case = f"two logs side by side, {width} workers {where}, 1 job at a time"
            found.append(Result(case, "jobs/s", rates["two"], "one log", rates["one"]))
    return found


def _rate(server: "Server", step: str, each: int, schemas: list[str], away: float) -> float:
    """Transactions a second, of all processes together."""
    with database(server) as url:
        postgres_crew.install("queuectl", url)
        taken = postgres_crew.seconds("queuectl", step, each, [url] * len(schemas), {DISTANCE: str(away)})
        return each * len(schemas) / taken


def _work(server: "Server", jobs: int, schemas: list[str], away: float) -> float:
    """Seconds until the jobs, spread evenly over the logs, are taken and finished."""
    with database(server) as url:
        logs = sorted({f"{url}&schema={schema}" for schema in schemas})
        for log in logs:
            postgres_crew.install("queuectl", log)
            postgres_crew.seconds("queuectl", "batch", jobs // len(logs), [log])
        urls = [f"{url}&schema={schema}" for schema in schemas]
        return postgres_crew.seconds("queuectl", "work", 1, urls, {DISTANCE: str(away)})
