"""Many jobs that wait: one that frees 10,000, one that waits for 10,000, and a chain of 10,000."""

import time

import pytest

from queuectl.application.queue import NewJob, Queue
from queuectl.domain.events import After
from tests.support.builders import ACTOR, a_spec, add, claimed, completed, more

MANY = 10_000


@pytest.fixture
def queue(store):
    return Queue(store, ACTOR)


def waiting_for(*names, **options):
    return a_spec(after=tuple(map(After, names)), **options)


def test_ten_thousand_are_freed_within_two_seconds_of_cpu(queue, store):
    queue.enqueue([NewJob(a_spec(), "a"), *(NewJob(waiting_for("a"), f"b{number}") for number in range(MANY))])
    [job] = add(store, more(store.log.load("a"), claimed()))
    began = time.process_time()
    add(store, more(job, completed()))
    assert time.process_time() - began < 2
    assert len(store.tables.claimable((), 2 * MANY, store.log.wall())) == MANY


def test_one_that_waits_for_ten_thousand_gets_one_event(queue, store):
    names = [f"a{number}" for number in range(MANY)]
    queue.enqueue([NewJob(a_spec(), name) for name in names])
    queue.enqueue([NewJob(waiting_for(*names), "end")])
    jobs = add(store, *(more(store.log.load(name), claimed()) for name in names))
    for start in range(0, MANY, 500):
        add(store, *(more(job, completed()) for job in jobs[start : start + 500]))
    assert [record.type for record in store.log.records(stream_id="end")] == ["enqueued", "dependencies_met"]


def test_a_chain_of_ten_thousand_is_cancelled_without_recursion(queue, store):
    chain = [NewJob(waiting_for(f"c{number - 1}", if_unmet="cancel"), f"c{number}") for number in range(1, MANY)]
    queue.enqueue([NewJob(a_spec(), "c0"), *chain])
    queue.cancel(["c0"])
    assert [(count.state, count.jobs) for count in store.tables.counts()] == [("cancelled", MANY)]
