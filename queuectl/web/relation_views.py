"""How a job hangs together with others: what it waits for, what waits for it, and where it comes from."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from msgspec import Struct

from queuectl.application.queue import Queue
from queuectl.domain.dependencies import BATCH, JOB, MET
from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.domain.relations import Origin

__all__ = ["Relation", "relations"]

MOST = 20
"""Jobs that wait for a job, and those for which it waits, which its page names."""
LONGEST = 10
"""Steps of the chain of origins."""
PLACES = {"schedule": "/schedules", "hook": ""}


class Relation(Struct, frozen=True):
    """Another job, or a batch or a schedule: what it is, its name, how it stands, and its page ("" for none)."""

    what: str
    name: str
    standing: str = ""
    link: str = ""


def relations(queue: Queue, job: Job) -> dict[str, Any]:
    """`before`: what the job waits for or has waited for; `behind`: what waits for it; `origins`: the nearest first."""
    behind = queue.store.waits.behind(JOB, job.id, MOST + 1)
    if job.spec.batch is not None:
        behind += queue.store.waits.behind(BATCH, job.spec.batch, MOST + 1)
    return {
        "before": [*islice(_before(queue, job), MOST)],
        "more_before": max(len(job.spec.after) - MOST, 0),
        "behind": [_job(queue, "job", job_id) for job_id in behind[:MOST]],
        "more_behind": len(behind) > MOST,
        "origins": [*_origins(queue, job)],
        "batch": job.spec.batch,
    }


def _before(queue: Queue, job: Job) -> Iterator[Relation]:
    """The unmet dependencies first."""
    unmet = {(row.kind, row.name, row.wanted) for row in queue.store.waits.dependencies(job.id) if row.standing != MET}
    for after in sorted(job.spec.after, key=lambda each: (each.kind, each.name, each.on) not in unmet):
        waits = "waits" if (after.kind, after.name, after.on) in unmet else "met"
        if after.kind == BATCH:
            yield Relation(f"batch, {after.on}", after.name, waits, f"/jobs?q=batch:{after.name}")
        else:
            yield _job(queue, f"job, {after.on}", after.name)


def _job(queue: Queue, what: str, job_id: str) -> Relation:
    row = queue.store.tables.job(job_id)
    return Relation(what, job_id, row["state"] if row else State.PURGED.value, f"/jobs/{job_id}")


def _origins(queue: Queue, job: Job) -> Iterator[Relation]:
    """The job's origin, and that of the job it comes from, and so on."""
    origin = job.spec.origin
    for _ in range(LONGEST):
        if origin is None:
            return
        if origin.kind not in {"copy", "job"}:
            yield Relation(origin.kind, origin.name, link=PLACES.get(origin.kind, ""))
            return
        yield _job(queue, "copy of" if origin.kind == "copy" else "added by job", origin.name)
        origin = _origin_of(queue, origin.name)


def _origin_of(queue: Queue, job_id: str) -> Origin | None:
    job = queue.store.log.load(job_id)
    return None if job is None else job.spec.origin
