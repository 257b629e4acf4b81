"""Transactions, the workers' rows, and what one connection sees of another's writes."""

import pytest
from msgspec.structs import replace

from queuectl.domain import events as e
from queuectl.domain.names import SETTINGS_STREAM
from queuectl.errors import StoreError
from tests.support.builders import (
    START,
    a_worker,
    add,
    chained,
    claimed,
    completed,
    everything,
    follow,
    more,
    new,
    note,
    stored,
)


class Interrupted(BaseException):
    """An exception like KeyboardInterrupt."""


def do_everything(store):
    [job] = add(store, new("a", unique="k"))
    add(store, more(job, e.Cancelled()), new("b"), note(store, SETTINGS_STREAM, e.SettingChanged(key="x", value="1")))
    add(store, note(store, "$queue:q", e.QueuePaused()))
    store.workers.beat(a_worker())
    store.upkeep.quarantine("b")


def run_and_fail(store, work, error, durable=True):
    with store.writer.transaction(durable=durable):
        work(store)
        raise error


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("error", [ValueError, Interrupted])
def test_an_exception_rolls_back_the_transaction(store, error, durable):
    add(store, new("before"))
    before = everything(store)
    with pytest.raises(error):
        run_and_fail(store, do_everything, error, durable)
    assert everything(store) == before
    do_everything(store)
    assert everything(store) != before
    assert [row.digest for row in stored(store)] == chained(stored(store))


@pytest.mark.parametrize("durable", [True, False])
def test_a_transactions_changes_are_kept(store, durable):
    with store.writer.transaction(durable=durable):
        do_everything(store)
        inside = everything(store)
    assert everything(store) == inside
    assert store.log.head().position == 5


def test_a_nested_transaction_is_part_of_the_outer_one(store):
    with store.writer.transaction():
        add(store, new("a"))
        with store.writer.transaction(durable=False):
            add(store, new("b"))
        add(store, new("c"))
    assert [record.stream_id for record in store.log.records()] == ["a", "b", "c"]


def within(store):
    with store.writer.transaction():
        add(store, new("d"))


def fail_in_a_nested_transaction(store):
    add(store, new("e"))
    run_and_fail(store, within, Interrupted)


@pytest.mark.parametrize("work", [within, fail_in_a_nested_transaction])
def test_an_exception_in_an_inner_transaction_rolls_back_all(store, work):
    before = everything(store)
    with pytest.raises(Interrupted):
        run_and_fail(store, work, Interrupted)
    assert everything(store) == before


def test_others_see_a_transaction_after_its_commit(shared, url):
    one, other = shared.open(url), shared.open(url)
    with one.writer.transaction():
        add(one, new("a"))
        assert (other.log.head().position, other.log.load("a"), other.tables.counts()) == (0, None, [])
    assert (other.log.head(), other.log.load("a"), other.tables.counts()) == (
        one.log.head(),
        one.log.load("a"),
        one.tables.counts(),
    )


def test_the_time_is_taken_under_the_lock(shared, url, clock):
    one, other = shared.open(url), shared.open(url)
    clock.advance(5)
    add(one, new("a"))
    clock.turn(-5)
    with other.writer.transaction():
        assert other.log.now() == START + 5


def test_two_connections_make_one_chain(shared, url):
    one, other = shared.open(url), shared.open(url)
    for number in range(10):
        add((one, other)[number % 2], new(str(number)))
    assert [row.digest for row in stored(one)] == chained(stored(one))
    assert one.log.head() == other.log.head()


def test_a_log_can_be_closed_and_opened_again(shared, url, clock):
    one = shared.open(url)
    follow(one, clock, "a", new("a").events[0], claimed())
    before, log_id = everything(one), one.log.log_id
    one.close()
    again = shared.open(url)
    assert (everything(again), again.log.log_id) == (before, log_id)
    assert shared.new_store().log.log_id != log_id


def test_the_logs_time_holds_across_opening(shared, url, clock):
    add(shared.open(url), new("a"))
    clock.turn(-1000)
    again = shared.open(url)
    add(again, new("b"))
    clock.advance(7)
    add(again, new("c"))
    assert [record.recorded_at for record in again.log.records()] == [START, START, START]
    assert [record.clock for record in again.log.records()] == [START, START - 1000, START - 993]


def test_a_closed_store_refuses_to_be_used(store):
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.log.head()
    with pytest.raises(StoreError, match="closed"):
        add(store, new("a"))


# ── whether others wrote ────────────────────────────────────────────────────────────────────────────


def test_changed_reports_writes_of_others_once(shared, url):
    one, other = shared.open(url), shared.open(url)
    one.workers.changed()
    assert one.workers.changed() is False
    add(other, new("a"))
    assert [one.workers.changed(), one.workers.changed()] == [True, False]
    other.workers.beat(a_worker())
    assert [one.workers.changed(), one.workers.changed()] == [True, False]


def test_changed_does_not_report_own_writes(shared, url):
    one = shared.open(url)
    one.workers.changed()
    add(one, new("a"))
    one.workers.beat(a_worker())
    assert one.workers.changed() is False


# ── workers' rows ───────────────────────────────────────────────────────────────────────────────────


def test_a_beat_writes_the_row_and_the_next_one_renews_it(store):
    row = a_worker()
    store.workers.beat(row)
    assert store.workers.rows() == [row]
    later = replace(row, beat_at=99, last_heartbeat=5, jobs_done=7, slots=3, queues=())
    store.workers.beat(later)
    assert store.workers.rows() == [later]


def test_a_workers_running_jobs_are_counted_from_the_jobs(store):
    store.workers.beat(a_worker("w1", slots=3, running=9))
    store.workers.beat(a_worker("w2"))
    jobs = add(store, *(new(job_id) for job_id in "abc"))
    jobs = add(store, *(more(job, claimed(1, "w1")) for job in jobs))
    assert {row.name: row.running for row in store.workers.rows()} == {"w1": 3, "w2": 0}
    add(store, more(jobs[0], completed()))
    assert {row.name: row.running for row in store.workers.rows()} == {"w1": 2, "w2": 0}


def test_workers_come_in_the_order_of_their_start(store):
    for name, started_at in (("b", 2), ("c", 1), ("a", 2)):
        store.workers.beat(a_worker(name, started_at=started_at))
    assert [row.name for row in store.workers.rows()] == ["c", "a", "b"]


def test_a_beat_does_not_write_over_a_request_to_stop(store):
    store.workers.beat(a_worker())
    assert store.workers.asked("w1") == (0, [])
    assert store.workers.ask_to_stop("w1") is True
    store.workers.beat(a_worker(beat_at=99))
    assert store.workers.asked("w1") == (1, [])
    assert store.workers.ask_to_stop("w1") is True
    assert store.workers.asked("w1") == (1, [])  # the same request
    assert store.workers.ask_to_stop("w1", 2) is True
    assert store.workers.asked("w1") == (2, [])
    assert store.workers.ask_to_stop("w1") is True
    assert store.workers.asked("w1") == (2, [])


def test_asking_an_unknown_worker_to_stop_is_reported(store):
    store.workers.beat(a_worker("other"))
    assert store.workers.ask_to_stop("w1") is False
    assert store.workers.asked("w1") == (0, [])
    assert store.workers.asked("other") == (0, [])


def test_a_worker_is_asked_to_cancel_its_own_jobs_alone(store):
    jobs = add(store, *(new(job_id) for job_id in "abc"))
    jobs = add(store, more(jobs[0], claimed(1, "w1")), more(jobs[1], claimed(1, "w2")), more(jobs[2], claimed(1, "w1")))
    add(store, *(more(job, e.CancelRequested(run=1)) for job in jobs[:2]))
    assert store.workers.asked("w1") == (0, ["a"])
    assert store.workers.asked("w2") == (0, ["b"])
    add(store, more(store.log.load("a"), e.Cancelled(run=1)))
    assert store.workers.asked("w1") == (0, [])


def test_a_forgotten_worker_is_no_longer_listed(store):
    store.workers.beat(a_worker("w1"))
    store.workers.beat(a_worker("w2"))
    assert store.workers.forget(a_worker("w1"))
    assert not store.workers.forget(a_worker("w1"))
    assert not store.workers.forget(a_worker("nobody"))
    assert [row.name for row in store.workers.rows()] == ["w2"]


OTHERS = [{"host": "far"}, {"boot_id": "c"}, {"pid": 11}, {"pid_namespace": 2}, {"pid_started_at": 6}]
"""Processes that are not the worker `w1`, though called so."""


@pytest.mark.parametrize("other", OTHERS)
def test_a_process_renews_only_its_own_heartbeat(store, other):
    assert store.workers.beat(a_worker())
    assert not store.workers.beat(a_worker(**other, beat_at=99))
    assert store.workers.rows() == [a_worker()]


@pytest.mark.parametrize("other", OTHERS)
def test_forgetting_a_worker_forgets_no_other_of_its_name(store, other):
    store.workers.beat(a_worker())
    assert not store.workers.forget(a_worker(**other))
    assert store.workers.rows() == [a_worker()]
    assert store.workers.forget(a_worker(beat_at=99, jobs_done=3))
    assert store.workers.rows() == []


def test_workers_are_not_in_the_log(store):
    store.workers.beat(a_worker())
    store.workers.ask_to_stop("w1")
    store.workers.forget(a_worker("w1"))
    assert store.log.head().position == 0
