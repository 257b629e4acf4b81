"""The number of round trips while the log's lock is held, and the cases without the lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import events as e
from queuectl.domain.commands import Command, Exit, Report
from queuectl.domain.job import Job
from queuectl.runtime import SystemClock
from queuectl.store.postgres.connection import Link
from queuectl.store.postgres.engine import PostgresEngine
from queuectl.worker.claims import Claims
from queuectl.worker.results import Results
from tests.support.builders import ACTOR, a_spec, claimant

MANY = 10


@pytest.fixture
def queue(places: Any, url: str) -> Queue:
    return Queue(places.open(url, SystemClock()), ACTOR)


@contextmanager
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A list with an entry for each round trip under the lock."""
    marks: list[str] = []
    exchange = Link._exchange

    def counted(link: Link, *steps: Any) -> Any:
        if link.inside:
            marks.append(" ".join(sql for sql, _ in steps))
        return exchange(link, *steps)

    with monkeypatch.context() as patched:
        patched.setattr(Link, "_exchange", counted)
        yield marks


def claim(queue: Queue, count: int = MANY) -> list[Job]:
    return queue.claim(claimant(), (), count, lambda job: True)


def finish(queue: Queue, jobs: list[Job]) -> None:
    queue.execute([Report(job.id, job.run, Exit()) for job in jobs], {job.id: job for job in jobs})


@pytest.mark.parametrize("count", [1, MANY])
def test_many_jobs_need_as_many_round_trips_as_one(queue, monkeypatch, count):
    with asked(monkeypatch) as adding:
        queue.enqueue([NewJob(a_spec()) for _ in range(count)])
    with asked(monkeypatch) as claiming:
        jobs = claim(queue, count)
    with asked(monkeypatch) as finishing:
        finish(queue, jobs)
    assert [len(jobs), len(adding), len(claiming), len(finishing)] == [count, 2, 4, 1]


def results_of(queue: Queue, jobs: list[Job]) -> Results:
    results = Results(queue)
    for job in jobs:
        command: Command = Report(job.id, job.run, Exit())
        results.add(command, job, 0)
    return results


class Locks:
    """Always free; `held` are those that were taken."""

    def __init__(self) -> None:
        self.held: set[str] = set()

    def reserve(self, job: Job) -> bool:
        self.held.add(job.id)
        return True

    def unreserve(self, job_id: str) -> None:
        self.held.remove(job_id)


def test_results_and_claims_share_one_transaction(queue, monkeypatch):
    queue.enqueue([NewJob(a_spec(), f"job-{i}") for i in range(4)])
    results, locks = results_of(queue, claim(queue, 2)), Locks()
    claims = Claims(queue, locks, SystemClock(), claimant(), ())
    before = queue.store.log.head()
    monkeypatch.setattr(PostgresEngine, "commit", interrupted)
    with pytest.raises(InterruptedError):
        turn(claims, results)
    monkeypatch.undo()
    assert (queue.store.log.head(), len(results.waiting), locks.held) == (before, 2, set())
    ended, jobs = turn(claims, results)
    assert ([job.id for job in jobs], [job.state for job in ended]) == (["job-2", "job-3"], ["done", "done"])
    assert locks.held == {"job-2", "job-3"}
    events = [record.event for record in queue.store.log.records(after=before.position)]
    assert [type(event) for event in events] == [e.Completed, e.Completed, e.Claimed, e.Claimed]


def turn(claims: Claims, results: Results) -> tuple[list[Job], list[Job]]:
    """Record results and claim in one transaction, as a worker does; return the ended and the claimed jobs."""
    with claims.reserving() as reserve, claims.queue.store.writer.transaction():
        recorded = results.append([*results.waiting.values()])
        return [job for _, job in recorded if isinstance(job, Job)], [each.job for each in claims.take(2, reserve)]


def interrupted(*_: Any) -> None:
    raise InterruptedError
