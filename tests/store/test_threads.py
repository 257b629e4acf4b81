"""Several threads may use one queue object: they take turns, and no acknowledged job is lost."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import events as e

THREADS, EACH = 8, 25


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
