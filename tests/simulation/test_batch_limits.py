"""Limits of failures in the simulation, against a small oracle that reads the log alone."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from queuectl.application.queue import NewJob
from queuectl.domain.events import BatchOpened, Cancelled, Exited, RecordedEvent
from tests.simulation.driver import Driver, spec
from tests.simulation.tables import compare_all
from tests.simulation.world import Script

STATES = {
    "enqueued": "pending",
    "retry_scheduled": "pending",
    "released": "pending",
    "requeued": "pending",
    "claimed": "processing",
    "completed": "done",
    "dead_lettered": "dlq",
    "cancelled": "cancelled",
}
FALLS_BACK = ("dead_lettered", "retry_scheduled", "released")
JOBS = st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.integers(1, 900)), min_size=2, max_size=12)


def cancelled_by_limit(records: Iterable[RecordedEvent], limit: int) -> int:
    """How many jobs the limit has cancelled. Fails when it cancelled one that it should not have, or spared one."""
    states, doomed, causes, number = dict[str, str](), set[str](), set[int](), 0
    for record in records:
        job_id = record.stream_id
        if record.type not in STATES:
            continue
        assert (job_id, record.type) not in {(each, "claimed") for each in doomed}, f"{job_id} should be cancelled"
        states[job_id] = STATES[record.type]
        if isinstance(record.event, Cancelled):
            assert job_id in doomed, f"{job_id} was cancelled too early"
            assert record.event.by in causes, f"{job_id} was cancelled because of another event"
            number += 1
        doomed.discard(job_id)
        if record.type in FALLS_BACK and sum(state == "dlq" for state in states.values()) > limit:
            causes.add(record.position)
            doomed |= {each for each, state in states.items() if state == "pending"}
    assert not doomed
    return number


@settings(max_examples=40, deadline=None)
@given(JOBS, st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_a_batch_stops_exactly_when_its_limit_is_exceeded(
    jobs: list[tuple[bool, int, int]], limit: int, slots: int, again: bool
) -> None:
    driver = Driver()
    added = []
    for number, (succeeds, retries, lasts) in enumerate(jobs, 1):
        driver.scripts[f"g.{number}"] = [Script(lasts=lasts * 1000, cause=None if succeeds else Exited(1))]
        added.append(NewJob(spec(batch="g", seq=number, max_retries=retries), f"g.{number}"))
    driver.user.enqueue(added, BatchOpened(jobs=0, max_failures=limit))
    for _ in range(2):
        driver.add_worker(slots=slots)
    driver.run(12)
    if again:
        driver.user.requeue([row["id"] for row in driver.store.tables.dlq()][:2])
        driver.run(12)
    records = list(driver.store.log.records())
    stopped = cancelled_by_limit(records, limit)
    compare_all(driver.store, records)
    failing = sum(not succeeds for succeeds, _, _ in jobs)
    assert failing > limit or stopped == 0
    assert len(driver.store.tables.dlq()) <= limit + 2 * slots


def test_jobs_that_are_held_do_not_start_once_the_batch_stops() -> None:
    driver, added = Driver(), []
    for number in range(200):
        driver.scripts[f"g.{number}"] = [Script(lasts=800, cause=Exited(1) if number > 100 else None)]
        added.append(NewJob(spec(batch="g", seq=number, max_retries=0), f"g.{number}"))
    driver.user.enqueue(added, BatchOpened(jobs=0, max_failures=3))
    driver.add_worker(slots=2)
    driver.run(1)
    records = list(driver.store.log.records())
    assert any(record.type == "released" for record in records)
    assert cancelled_by_limit(records, 3) > 0
    assert 3 < len(driver.store.tables.dlq()) <= 3 + 2
