"""Several threads may use one queue object: they take turns, and no acknowledged job is lost."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import events as e
from queuectl.store.rows import JobFilter
from tests.support.builders import claimant

THREADS, EACH = 8, 25
SPEC = e.Enqueued("true", "default", 0, 3, 2, 3_600_000_000, False, "/")


def hear(store: Any, place: Path) -> None:
    """Look for a hint, where there can be one."""
    if (hints := store.workers.hints()) is not None:
        hints.heard()


LONG: dict[str, Callable[[Any, Path], object]] = {
    "copy": lambda store, place: store.upkeep.copy_to(str(place)),
    "rebuild": lambda store, place: store.upkeep.rebuild(),
    "compare": lambda store, place: store.upkeep.compare(),
    "damage": lambda store, place: store.upkeep.damage(),
    "read": lambda store, place: list(store.log.records()),
    "hints": hear,
}
"""Calls that take more than one statement."""


def test_threads_that_share_a_queue_lose_nothing(store: Any) -> None:
    queue = Queue(store, "me")

    def work(number: int) -> list[str]:
        spec = e.Enqueued(f"echo {number}", "default", 0, 3, 2, 3_600_000_000, False, "/")
        return [queue.enqueue([NewJob(spec)])[0].id for _ in range(EACH)]

    with ThreadPoolExecutor(THREADS) as pool:
        ids = [job_id for made in pool.map(work, range(THREADS)) for job_id in made]
    assert len(set(ids)) == THREADS * EACH == store.log.head().position
    assert sorted(record.stream_id for record in store.log.records()) == sorted(ids)
    assert store.upkeep.compare().total == 0
    if (archive := store.location.archive) is not None:
        assert list(archive.events(0, len(ids))) == list(store.log.stored())


@pytest.mark.parametrize("name", LONG)
def test_a_thread_may_check_or_copy_while_others_add(store: Any, tmp_path: Path, name: str) -> None:
    queue, done = Queue(store, "me"), Event()
    queue.enqueue([NewJob(SPEC) for _ in range(500)])

    def add() -> int:
        added = 0
        while not done.is_set():
            queue.enqueue([NewJob(SPEC)])
            added += 1
        return added

    def take_long() -> None:
        try:
            for number in range(5):
                LONG[name](store, tmp_path / f"copy-{number}.db")
        finally:
            done.set()

    with ThreadPoolExecutor(3) as pool:
        adding = [pool.submit(add) for _ in range(2)]
        pool.submit(take_long).result()
        added = sum(each.result() for each in adding)
    assert store.log.head().position == 500 + added
    assert store.upkeep.compare().total == 0


MEANWHILE: dict[str, Callable[[Any], object]] = {
    "head": lambda store: store.log.head().position,
    "time": lambda store: store.log.behind_for(),
    "jobs": lambda store: store.tables.ids(JobFilter(limit=0)),
    "stream": lambda store: store.log.load("lost"),
    "add": lambda store: Queue(store, "me").enqueue([NewJob(SPEC, "kept")])[0].id,
    "pause": lambda store: Queue(store, "me").pause("default"),
    "claim": lambda store: Queue(store, "me").claim(claimant("w1"), (), 1, lambda job: True),
}
EXPECTED = {"head": 0, "time": None, "jobs": [], "stream": None, "add": "kept", "pause": True, "claim": []}


@pytest.mark.parametrize("name", MEANWHILE)
def test_a_thread_waits_for_the_transaction_of_another(store: Any, name: str) -> None:
    """It sees nothing that is undone afterwards, and nothing of its own is undone with it."""
    queue = Queue(store, "me")
    with ThreadPoolExecutor(1) as pool:
        with suppress(ZeroDivisionError), store.writer.transaction():
            queue.enqueue([NewJob(SPEC, "lost")])
            found = pool.submit(MEANWHILE[name], store)
            with suppress(TimeoutError):
                found.result(0.1)  # as long as the transaction is open it waits
            raise ZeroDivisionError
        assert found.result(30) == EXPECTED[name]
    assert store.log.head().position == (name in ("add", "pause"))
    assert store.upkeep.compare().total == 0
