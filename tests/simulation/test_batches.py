"""Batches in the simulation: whatever is added, again or anew, and however the jobs end, the counts are right."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuectl.application.queue import NewJob
from queuectl.domain.events import BatchOpened, Exited
from tests.simulation.driver import Driver, spec
from tests.simulation.tables import InvariantError, compare_all, compare_batches
from tests.simulation.world import Script

SUBMISSIONS = st.lists(st.tuples(st.sampled_from(["grid", "night"]), st.integers(1, 6)), min_size=1, max_size=5)
ENDS = st.lists(st.booleans(), min_size=6, max_size=6)


@settings(max_examples=25, deadline=None)
@given(SUBMISSIONS, ENDS, st.integers(1, 3))
def test_the_counts_of_batches_are_those_of_their_jobs(
    submissions: list[tuple[str, int]], ends: list[bool], slots: int
) -> None:
    driver = Driver()
    driver.add_worker(slots=slots)
    longest = dict[str, int]()
    for batch, number in submissions:
        jobs = [NewJob(spec(batch=batch, seq=seq, max_retries=0), f"{batch}.{seq}") for seq in range(1, number + 1)]
        for job, succeeds in zip(jobs, ends, strict=False):
            driver.scripts[str(job.id)] = [Script(lasts=1000, cause=None if succeeds else Exited(1))]
        before = driver.store.log.head().position
        receipts = driver.user.enqueue(jobs, BatchOpened(jobs=0))
        new = max(0, number - longest.get(batch, 0))
        assert sum(receipt.created for receipt in receipts) == new, "a longer batch adds only the jobs that are new"
        assert (driver.store.log.head().position > before) is (new > 0)
        longest[batch] = max(number, longest.get(batch, 0))
        driver.run(0.5)
    driver.run(5)
    compare_all(driver.store, driver.store.log.records())
    for batch, number in longest.items():
        counts = {each.state.value: each.jobs for each in driver.store.batches.all() if each.batch == batch}
        done = sum(ends[:number])
        assert counts == {state: jobs for state, jobs in (("done", done), ("dlq", number - done)) if jobs}


def test_wrong_counts_of_a_batch_are_noticed() -> None:
    driver = Driver()
    driver.user.enqueue([NewJob(spec(batch="grid"), "a")], BatchOpened(jobs=0))
    records = list(driver.store.log.records())
    with pytest.raises(InvariantError, match="batches"):
        compare_batches(driver.store, records[:1], [])
    with pytest.raises(InvariantError, match="the batches have"):
        compare_batches(driver.store, records, [])
