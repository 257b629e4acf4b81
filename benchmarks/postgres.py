"""One PostgreSQL server, many workers: compared with Procrastinate and pgqueuer on that server in the same rounds."""

from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import postgres_bloat, postgres_crew, postgres_limits, queue
from benchmarks.latency import pipe
from benchmarks.plan import Plan, folder, in_turn
from benchmarks.postgres_library import PIPE
from benchmarks.postgres_server import database, installed, running
from benchmarks.process import running as started
from benchmarks.process import timed
from benchmarks.result import Result, against

if TYPE_CHECKING:
    from tests.support.postgres import Server

WORKERS = (1, 2, 4, 8, 16, 32)
PEERS = ("procrastinate", "pgqueuer")


def measure(plan: Plan) -> list[Result]:
    """Everything about PostgreSQL; nothing where there is no server."""
    if not installed(plan):
        return []
    names = ["queuectl", *(name for name in PEERS if plan.has_package(name))]
    with running() as server:
        return [
            *_adding(plan, server, names),
            *_taking(plan, server, names),
            *_running(plan, server),
            *_starting(plan, server, names),
            *postgres_limits.measure(plan, server),
            *postgres_bloat.measure(plan, server),
        ]


def _adding(plan: Plan, server: "Server", names: list[str]) -> list[Result]:
    """Through Python, by one process: one at a time, and all at once; and ours as the command line does it."""
    one, many = plan.size(1000, 10), plan.size(20_000, 50)
    each = in_turn({name: partial(_seconds, server, name, "each", one) for name in names}, plan.rounds(5))
    batch = in_turn({name: partial(_seconds, server, name, "batch", many) for name in names}, plan.rounds(5))
    lines = in_turn({"enqueue --file": partial(_enqueue_file, server, many)}, plan.rounds(5))
    return [
        *_rates(f"{one:,} jobs, one at a time", one, each),
        *_rates(f"{many:,} jobs at once", many, batch),
        Result(f"`enqueue --file` of {many:,} jobs", "jobs/s", [many / taken for taken in lines["enqueue --file"]]),
    ]


def _seconds(server: "Server", name: str, step: str, count: int) -> float:
    with database(server) as url:
        postgres_crew.install(name, url)
        return postgres_crew.seconds(name, step, count, [url])


def _enqueue_file(server: "Server", jobs: int) -> float:
    with database(server) as url:
        return _fill(url, jobs)


def _fill(url: str, jobs: int) -> float:
    with open("lines.txt", "w", encoding="utf-8") as file:
        file.write("true\n" * jobs)
    return timed(queue.command(url, "enqueue", "--file", "lines.txt"), env=postgres_crew.HOME, limit=600)


def _taking(plan: Plan, server: "Server", names: list[str]) -> list[Result]:
    """Jobs that do nothing, taken and finished by so many processes: one at a time each, and ten."""
    jobs, found = plan.size(1500, 40), []
    for workers in WORKERS[:2] if plan.smoke else WORKERS:
        for at_once in (1, 10):
            sides = {name: partial(_work, server, name, jobs, workers, at_once) for name in names}
            case = f"{workers} worker{'s' if workers > 1 else ''}, {at_once} at a time: {jobs:,} jobs that do nothing"
            found += _rates(case, jobs, in_turn(sides, plan.rounds(3)))
    return found


def _work(server: "Server", name: str, jobs: int, workers: int, at_once: int) -> float:
    with database(server) as url:
        postgres_crew.install(name, url)
        postgres_crew.seconds(name, "batch", jobs, [url])
        return postgres_crew.seconds(name, "work", at_once, [url] * workers)


def _running(plan: Plan, server: "Server") -> list[Result]:
    """Our real workers, whole processes, with `true`: in eight slots each."""
    jobs, found = plan.size(1000, 20), []
    for workers in (1,) if plan.smoke else (1, 2, 4):
        times = in_turn({"queuectl": partial(_run_drain, server, jobs, workers)}, plan.rounds(3))["queuectl"]
        case = f"{workers} × `run --drain --concurrency 8`, {jobs:,} jobs `true`"
        found.append(Result(case, "jobs/s", [jobs / taken for taken in times]))
    return found


def _run_drain(server: "Server", jobs: int, workers: int) -> float:
    with database(server) as url:
        _fill(url, jobs)
        drain = queue.command(url, "run", "--drain", "--concurrency", "8")
        each = f"{{ {' '.join(map(_quoted, drain))} & }};"
        return timed(["/bin/sh", "-c", each * workers + " wait"], env=postgres_crew.HOME, limit=600)


def _quoted(word: str) -> str:
    return f"'{word}'"


def _starting(plan: Plan, server: "Server", names: list[str]) -> list[Result]:
    """From the call of `enqueue` to the first instruction of the job, with an idle worker in another process."""
    samples: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(plan.rounds(3)):
        for name in names:
            samples[name] += _latencies(server, name, plan.size(30, 3))
    return _against("enqueue → start, idle worker in another process", "ms", samples)


def _latencies(server: "Server", name: str, count: int) -> list[float]:
    """The worker has a home of its own, as on another machine: it hears of jobs from the server alone."""
    with database(server) as url, folder("latency") as home, pipe(f"{home}/started"):
        postgres_crew.install(name, url)
        env = {PIPE: f"{home}/started"}
        with _idle(name, url, env | {"QUEUECTL_HOME": f"{home}/elsewhere"}):
            return list(postgres_crew.answer(name, "ask", count, url, env))


def _idle(name: str, url: str, env: dict[str, str]) -> AbstractContextManager[object]:
    """Ours is the real worker, which starts a shell for the job; theirs calls a function."""
    if name == "queuectl":
        return started(queue.command(url, "run"), env=postgres_crew.HOME | env)
    return postgres_crew.waiting(name, url, env)


def _rates(case: str, jobs: int, times: dict[str, list[float]]) -> list[Result]:
    return _against(case, "jobs/s", {name: [jobs / taken for taken in values] for name, values in times.items()})


def _against(case: str, unit: str, samples: dict[str, list[float]]) -> list[Result]:
    """Beside each other queue that is installed; alone where none is."""
    return against(case, unit, samples, {}) or [Result(case, unit, samples["queuectl"])]
