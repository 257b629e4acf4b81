"""Claims while an old snapshot is open: vacuum removes nothing, but claims do not read all dead rows."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from queuectl.application.queue import NewJob, Queue
from queuectl.domain.commands import Exit, Report
from queuectl.runtime import SystemClock
from queuectl.store import open_store
from tests.support.builders import a_spec, claimant
from tests.support.command_line import eventually
from tests.support.postgres import server

JOBS, AT_ONCE = 1000, 100
PAGES = 20
"""Enough for an index of some levels, and for the rows that are found."""


@pytest.fixture
def url(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("QUEUECTL_HOME", str(tmp_path))
    return server().new_url()


@pytest.fixture
def queue(url: str) -> Iterator[Queue]:
    store = open_store(url, SystemClock())
    yield Queue(store, "ann@box:1")
    store.close()


def add_dead_rows(queue: Queue) -> None:
    """Enqueue jobs, claim and complete them."""
    queue.enqueue([NewJob(a_spec()) for _ in range(JOBS)])
    while jobs := queue.claim(claimant(), (), AT_ONCE, lambda job: True):
        queue.execute([Report(job.id, job.run, Exit()) for job in jobs], {job.id: job for job in jobs})


def pages_read(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> int:
    """The pages that the search for due jobs reads, as the server counts them."""
    plans: list[str] = []
    run = queue.store.engine.run  # type: ignore[attr-defined]

    def explained(sql: str, parameters: Sequence[Any] = ()) -> Any:
        if "FROM jobs" in sql:
            plans.append("\n".join(line for (line,) in run(f"EXPLAIN (ANALYZE, BUFFERS) {sql}", parameters)))
        return run(sql, parameters)

    with monkeypatch.context() as patched:
        patched.setattr(queue.store.tables._due_search, "_ask", explained)  # type: ignore[attr-defined]
        assert queue.store.tables.claimable((), 10, queue.store.log.now())
    return sum(int(re.findall(r"shared hit=(\d+)", plan)[0]) for plan in plans)


def test_a_claim_does_not_read_past_all_that_was_claimed(
    queue: Queue, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(url.partition("&schema")[0]) as forgotten:
        forgotten.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        forgotten.execute("SELECT 1")
        add_dead_rows(queue)
        queue.enqueue([NewJob(a_spec()) for _ in range(100)])
        monkeypatch.setattr("queuectl.store.postgres.due_search.FROM_THE_BEGINNING_EVERY", 1 << 60)
        queue.store.tables.claimable((), 10, queue.store.log.now())
        assert pages_read(queue, monkeypatch) <= PAGES
        again = open_store(url, SystemClock())
        assert pages_read(Queue(again, "ann@box:1"), monkeypatch) > PAGES
        again.close()


def test_a_job_enqueued_for_the_past_comes_first(queue: Queue, url: str) -> None:
    queue.enqueue([NewJob(a_spec()) for _ in range(3)])
    queue.store.tables.claimable((), 1, queue.store.log.now())
    queue.enqueue([NewJob(a_spec(at=1), "early")])
    assert queue.store.tables.claimable((), 1, queue.store.log.now()) == ["early"]


def test_a_job_that_another_enqueued_for_the_past_is_found(queue: Queue, url: str) -> None:
    queue.enqueue([NewJob(a_spec()) for _ in range(3)])
    queue.store.tables.claimable((), 1, queue.store.log.now())
    other = open_store(url, SystemClock())
    Queue(other, "bob@box:2").enqueue([NewJob(a_spec(at=1), "early")])
    other.close()
    eventually(
        lambda: queue.store.tables.claimable((), 1, queue.store.log.now()) == ["early"], "it is first in the line"
    )
