"""The events between the turns of the workers: commands of people, and faults of workers and hosts."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from queuectl.application.queue import NewJob, Receipt
from queuectl.domain.commands import Amend, Requeue
from queuectl.domain.events import BatchOpened, Changes, Enqueued
from queuectl.domain.job import Job
from queuectl.domain.names import PAUSE_ALL
from tests.simulation.driver import spec
from tests.simulation.fate import HOUR
from tests.simulation.tables import must
from tests.simulation.world import SECOND, WorkerProcess

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

__all__ = ["QUEUES", "happen"]

DAY = 24 * HOUR
QUEUES = ("default", "mail", "slow")

Happening: TypeAlias = Callable[["Simulation"], None]


def happen(sim: "Simulation") -> None:
    """Do one of these, chosen by their weights and the seed's faults."""
    blows = sim.fate.blows
    deeds = [*DEEDS, *(BY_NAME[blow] for blow in blows)]
    sim.rng.choices(deeds, [*DEEDS.values(), *blows.values()])[0](sim)


# ── what people do ──────────────────────────────────────────────────────────────────────────────────


def enqueue_some(sim: "Simulation") -> None:
    """Enqueue new jobs, sometimes with a known id, sometimes into a batch."""
    jobs = [
        NewJob(_promises(sim), _new_or_known_id(sim))
        for _ in range(sim.rng.choice([1, 1, 1, 2, 40 if sim.quick else 5]))
    ]
    batch = _batch(sim)
    if batch is not None:
        jobs = [replace(job, spec=replace(job.spec, batch=batch, seq=seq)) for seq, job in enumerate(jobs, 1)]
    opening = None if batch is None else BatchOpened(jobs=0)
    sim.attempt(lambda: _check_receipts(sim, jobs, sim.user.enqueue(jobs, opening)))


def _batch(sim: "Simulation") -> str | None:
    """The batch of jobs that are added now, drawn aside, so that seeds mean what they meant before."""
    return Random(f"{sim.seed}/batch/{sim.steps}").choice([None, None, "grid", "night"])


def _check_receipts(sim: "Simulation", jobs: list[NewJob], receipts: list[Receipt]) -> None:
    """Check that another job's id was returned only while that job has the unique key."""
    sim.oracle.read_on()
    for job, receipt in zip(jobs, receipts, strict=True):
        known = sim.oracle.jobs[receipt.id]
        holds = known.state in ("pending", "processing") and known.spec.unique == job.spec.unique is not None
        may_have_ended_since = sim.fate.interrupted
        must(receipt.id == job.id or holds or may_have_ended_since, f"{receipt.id} answers for {job.id} without a key")


def _new_or_known_id(sim: "Simulation") -> str:
    if sim.added and sim.rng.random() < 0.1:
        return f"job-{sim.rng.randrange(1, sim.added + 1)}"
    sim.added += 1
    return f"job-{sim.added}"


def _promises(sim: "Simulation") -> Enqueued:
    rng = sim.rng
    at = (
        sim.store.log.wall() + rng.choice([-DAY, 5 * SECOND, HOUR, 200 * DAY, 200 * DAY])
        if rng.random() < 0.15
        else None
    )
    return spec(
        queue=rng.choice(QUEUES),
        priority=rng.choice([0, 0, 0, 1, 5, -3]),
        max_retries=rng.choice([0, 1, 1, 2, 3]),
        backoff_base=rng.choice([1.0, 2.0, 2.0, 90.0]),
        backoff_cap=rng.choice([2 * SECOND, 2 * SECOND, 12 * HOUR]),
        timeout=rng.choice([None, SECOND, 2 * SECOND, 3 * SECOND]),
        delay=0 if at is not None else rng.choice([0, 0, 0, 0, 500_000, 3 * SECOND, 8 * SECOND, 20 * DAY]),
        at=at,
        unique=rng.choice([None, None, None, "a", "b"]),
    )


def cancel(sim: "Simulation") -> None:
    """Cancel a job."""
    chosen = _some_job(sim, "pending", "processing", "processing")
    sim.attempt(lambda: _check_cancelled(sim.user.cancel(chosen, "no longer")))


def _check_cancelled(jobs: list[Job | None]) -> None:
    for job in filter(None, jobs):
        must(
            job.state == "cancelled" or job.cancel_requested is not None, f"{job.id} was cancelled, but is {job.state}"
        )


def requeue(sim: "Simulation") -> None:
    """Run a finished job again."""
    chosen = _some_job(sim, *sim.rng.choice([("cancelled",), ("dlq", "done", "cancelled", "purged")]))
    sim.attempt(lambda: sim.user.requeue(chosen, "again"))


def edit(sim: "Simulation") -> None:
    """Change a pending job; one that a worker claims first is left as it is."""
    chosen = _some_job(sim, *sim.rng.choice([("pending",), ("pending", "processing")]))
    commands = [Amend(job_id, _changes(sim), "better") for job_id in chosen]
    sim.attempt(lambda: sim.user.execute(commands))


def requeue_changed(sim: "Simulation") -> None:
    """Run a finished job again, with changes and after a while."""
    changes, delay = replace(_changes(sim), delay=None, at=None), sim.rng.choice([0, 3 * SECOND])
    ended = _some_job(sim, "dlq", "done", "cancelled", "purged")
    commands = [Requeue(chosen, "repaired", delay, changes) for chosen in ended]
    sim.attempt(lambda: sim.user.execute(commands))


def _changes(sim: "Simulation") -> Changes:
    rng, now = sim.rng, sim.store.log.wall()
    due = rng.choice([(None, None), (None, None), (0, None), (3 * SECOND, None), (0, now + 5 * SECOND)])
    return Changes(
        delay=due[0],
        at=due[1],
        queue=rng.choice([None, None, *QUEUES]),
        priority=rng.choice([None, 0, 4]),
        max_retries=rng.choice([None, 0, 2]),
        timeout=rng.choice([None, None, 0, SECOND]),
        backoff_base=rng.choice([None, 1.0]),
    )


def purge(sim: "Simulation") -> None:
    """Take a finished job out of the tables."""
    chosen = _some_job(sim, "dlq", "done", "cancelled")
    sim.attempt(lambda: sim.user.purge(chosen))


def _some_job(sim: "Simulation", *states: str) -> list[str]:
    """One job, preferably in one of these states."""
    jobs = sim.oracle.jobs
    rather = [job_id for job_id, known in jobs.items() if known.state in states]
    choice = rather if rather and sim.rng.random() < 0.9 else list(jobs)
    return [sim.rng.choice(choice)] if choice else []


def pause_queue(sim: "Simulation") -> None:
    """Pause a queue."""
    queue = sim.rng.choice([*QUEUES, PAUSE_ALL])
    sim.attempt(lambda: sim.user.pause(queue))


def resume_queue(sim: "Simulation") -> None:
    """Resume a queue."""
    queue = sim.rng.choice([*QUEUES, PAUSE_ALL])
    sim.attempt(lambda: sim.user.resume(queue))


def rest(sim: "Simulation") -> None:
    """Let time pass without commands, from minutes to most of a year."""
    sim.rest(sim.rng.choice([60 * SECOND, HOUR, DAY, 30 * DAY, 300 * DAY]))


# ── what befalls workers and hosts ──────────────────────────────────────────────────────────────────


def new_worker(sim: "Simulation") -> None:
    """Start a worker; there are at most four."""
    rng = sim.rng
    if len(sim.workers) < 4:
        sim.add_worker(
            namespace=rng.randrange(sim.namespaces) + 1,
            host=rng.randrange(len(sim.world.hosts)),
            slots=rng.choice([1, 2, 4]),
            queues=frozenset(rng.choice([(), (), ("default",), ("mail", "slow")])),
            grace=rng.choice([1, 3]) * SECOND,
            lease=sim.lease,
            drain=rng.random() < 0.1,
            once=rng.random() < 0.05,
        )


def _some_worker(sim: "Simulation") -> WorkerProcess | None:
    """A worker that is between two ticks."""
    ready = [process for process in sim.workers if process.healthy]
    return sim.rng.choice(ready) if ready else None


def crash_worker(sim: "Simulation") -> None:
    """Kill a worker with SIGKILL."""
    if process := _some_worker(sim):
        process.alive = False


def pause_worker(sim: "Simulation") -> None:
    """Send SIGSTOP for less or more than its lease, then SIGCONT; preferably to a worker that runs a job."""
    busy = [process for process in sim.workers if process.healthy and process.worker.slots]
    if process := sim.rng.choice(busy) if busy else _some_worker(sim):
        process.resumes_at = sim.clock.monotonic() + round(
            sim.lease * sim.rng.choice([0.5, 1.3, 1.8, 3]) * sim.rng.uniform(0.8, 1.2)
        )


def stop_worker(sim: "Simulation") -> None:
    """Ask a worker to stop with SIGTERM or `worker stop`, once or twice."""
    if process := _some_worker(sim):
        for _ in range(sim.rng.choice([1, 2])):
            process.stops += 1
            if sim.rng.random() < 0.5:
                with sim.inside(process):
                    process.worker.stop()
                process.wants = sim.clock.monotonic()
            else:
                sim.attempt(lambda: sim.user.store.workers.ask_to_stop(process.row.name, process.stops))


def reboot(sim: "Simulation") -> None:
    """Reboot a host: all of its processes end."""
    sim.world.reboot(sim.rng.choice(sim.world.hosts))


def jump(sim: "Simulation") -> None:
    """Set the wall clock."""
    sim.clock.jumped += sim.rng.choice(sim.fate.jumps)


def fill_disk(sim: "Simulation") -> None:
    """Fill the disk, for less or more time than a worker waits for room."""
    sim.full_until = sim.clock.monotonic() + sim.rng.choice([SECOND // 10, SECOND, 8 * SECOND])


DEEDS: dict[Happening, float] = {
    enqueue_some: 12,
    cancel: 3,
    requeue: 3,
    edit: 2,
    requeue_changed: 1,
    purge: 1,
    pause_queue: 0.6,
    resume_queue: 1.2,
    new_worker: 2.5,
    rest: 3,
}
BY_NAME: dict[str, Happening] = {
    each.__name__: each for each in (crash_worker, pause_worker, stop_worker, reboot, jump, fill_disk)
}
