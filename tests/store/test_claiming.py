"""Claiming: which jobs are next, and that `Queue.claim` takes each once."""

from itertools import permutations
from threading import Thread

import pytest

from queuectl.application.queue import Queue
from queuectl.domain import events as e
from queuectl.domain.commands import Cancel
from queuectl.domain.machine import State
from queuectl.domain.names import PAUSE_ALL
from tests.support.builders import (
    ACTOR,
    SECOND,
    START,
    add,
    claimant,
    claimed,
    completed,
    follow,
    more,
    new,
    retried,
)
from tests.support.peer import Peer, ask_all


def due(store, *queues, limit=10, now=None, skip=()):
    return store.tables.claimable(queues, limit, store.log.now() if now is None else now, skip)


def take(store, limit=1, queues=(), worker="w1", reserve=lambda job: True):
    return [job.id for job in Queue(store, worker).claim(claimant(worker), queues, limit, reserve)]


# ── the order ───────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_queue_has_nothing_to_claim(store):
    assert due(store) == []
    assert store.tables.next_due(()) is None
    assert take(store) == []


def test_the_higher_priority_comes_first(store, clock):
    add(store, new("low", priority=-1, at=START - 90), new("middle", at=START - 50), new("high", priority=2, at=START))
    assert due(store) == ["high", "middle", "low"]


@pytest.mark.parametrize("order", [*permutations(["at 1", "at 2", "at 3"])])
def test_of_equal_priority_the_longest_due_comes_first(store, order):
    add(store, *(new(job_id, at=START - 10 + int(job_id[-1])) for job_id in order))
    for limit in (1, 2, 3):
        assert due(store, limit=limit) == ["at 1", "at 2", "at 3"][:limit]


@pytest.mark.parametrize("order", [*permutations("abc")])
def test_of_equal_due_time_the_oldest_comes_first(store, order):
    add(store, *(new(job_id, at=START) for job_id in order))
    assert due(store) == list(order)


def test_queues_are_claimed_from_as_one(store):
    add(
        store,
        new("1", queue="x", at=1),
        new("2", queue="y", at=2),
        new("3", queue="x", at=3),
        new("4", queue="y", priority=1),
    )
    assert due(store) == due(store, "x", "y") == due(store, "y", "x") == ["4", "1", "2", "3"]


def test_only_the_named_queues_are_claimed_from(store):
    add(store, new("1", queue="x"), new("2", queue="y"), new("3", queue="z"))
    assert due(store, "y") == ["2"]
    assert due(store, "x", "z") == ["1", "3"]
    assert due(store, "nothing") == []


def test_the_limit_counts_across_priorities_and_queues(store):
    add(
        store,
        *(
            new(f"{priority}{queue}{i}", priority=priority, queue=queue)
            for priority in (1, 2)
            for queue in "xy"
            for i in range(2)
        ),
    )
    expected = ["2x0", "2x1", "2y0", "2y1", "1x0", "1x1", "1y0", "1y1"]
    for limit in range(1, 9):
        assert due(store, limit=limit) == expected[:limit]


def test_a_job_not_due_waits_and_blocks_no_other(store, clock):
    add(store, new("later", priority=9, delay=5 * SECOND), new("now"))
    assert due(store) == ["now"]
    clock.advance(5 * SECOND - 1)
    assert due(store) == ["now"]
    clock.advance(1)
    assert due(store) == ["later", "now"]


def test_only_pending_jobs_are_claimed(store, clock):
    follow(store, clock, "processing", new("x").events[0], claimed())
    follow(store, clock, "done", new("x").events[0], claimed(), completed())
    follow(store, clock, "cancelled", new("x").events[0], e.Cancelled())
    follow(store, clock, "again", new("x").events[0], claimed(), retried(wait=0))
    assert due(store) == ["again"]


def test_a_retry_comes_after_jobs_that_were_due_before_it(store, clock):
    follow(store, clock, "retried", new("x").events[0], claimed(), retried(wait=3 * SECOND))
    add(store, new("fresh"))
    clock.advance(3 * SECOND)
    assert due(store) == ["fresh", "retried"]


def test_skipped_jobs_do_not_count_towards_the_limit(store):
    add(store, *(new(str(i), priority=-i) for i in range(6)))
    assert due(store, skip={"0", "2", "3"}, limit=2) == ["1", "4"]
    add(store, *(new(f"same-{i}", priority=1) for i in range(6)))
    assert due(store, skip={f"same-{i}" for i in range(5)}, limit=2) == ["same-5", "0"]


def test_no_job_of_a_paused_queue_is_claimed(store):
    queue = Queue(store, ACTOR)
    add(store, new("1", queue="x", priority=9), new("2", queue="y"))
    assert queue.pause("x") is True
    assert queue.pause("x") is False
    assert due(store) == due(store, "x", "y") == ["2"]
    assert due(store, "x") == []
    assert queue.resume("x") is True
    assert due(store) == ["1", "2"]


def test_the_pause_of_all_is_independent_of_other_pauses(store):
    queue = Queue(store, ACTOR)
    add(store, new("1", queue="x"), new("2", queue="y"))
    queue.pause()
    queue.pause("x")
    assert due(store) == due(store, "y") == []
    queue.resume("y")
    queue.resume("x")
    assert due(store) == []
    queue.pause("x")
    queue.resume(PAUSE_ALL)
    assert due(store) == ["2"]


def test_a_quarantined_job_is_not_claimed(store):
    add(store, new("1"), new("2"))
    store.upkeep.quarantine("1")
    assert due(store) == ["2"]
    assert store.tables.job("1")["due_at"] is store.tables.job("1")["next_run_at"] is None
    assert take(store, 5) == ["2"]


def test_next_due_is_the_earliest_due_time(store, clock):
    add(
        store,
        new("1", queue="x", delay=9 * SECOND),
        new("2", queue="x", priority=3, delay=7 * SECOND),
        new("3", queue="y", delay=5 * SECOND),
    )
    assert store.tables.next_due(()) == START + 5 * SECOND
    assert store.tables.next_due(("x",)) == store.tables.next_due(("x", "z")) == START + 7 * SECOND
    assert store.tables.next_due(("z",)) is None
    Queue(store, ACTOR).pause("y")
    assert store.tables.next_due(()) == START + 7 * SECOND
    Queue(store, ACTOR).pause()
    assert store.tables.next_due(()) is None


def test_quarantined_jobs_are_never_due(store):
    add(store, new("1", delay=SECOND), new("2", delay=2 * SECOND))
    store.upkeep.quarantine("1")
    assert store.tables.next_due(()) == START + 2 * SECOND


# ── taking ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_names_its_claimant(store):
    add(store, new("a"))
    [job] = Queue(store, "w9").claim(claimant("w9"), (), 1, lambda job: True)
    assert job == store.log.load("a")
    assert (job.state, job.run, job.claim) == (State.PROCESSING, 1, claimed(1, "w9"))
    assert [record.actor for record in store.log.records()][-1] == "w9"


def test_every_claim_has_the_next_run_number(store, clock):
    follow(store, clock, "a", new("a").events[0], claimed(), retried(wait=0))
    assert take(store) == ["a"]
    assert store.log.load("a").run == 2


def test_a_claim_takes_the_asked_number_in_order(store):
    add(store, *(new(f"{i}", priority=-i) for i in range(5)))
    assert take(store, 3) == ["0", "1", "2"]
    assert take(store, 9) == ["3", "4"]
    assert take(store, 9) == []


def test_jobs_that_cannot_be_locked_are_skipped(store):
    add(store, *(new(str(i), priority=-(i // 3)) for i in range(9)))
    asked = []

    def odd(job):
        asked.append(job.id)
        return int(job.id) % 2 == 1

    assert take(store, 3, reserve=odd) == ["1", "3", "5"]
    assert asked == ["0", "1", "2", "3", "4", "5"]
    assert [row[0] for row in sorted(store.tables.processing())] == ["1", "3", "5"]
    assert due(store) == ["0", "2", "4", "6", "7", "8"]


def test_nothing_is_written_when_nothing_can_be_reserved(store):
    add(store, new("a"), new("b"))
    before = store.log.head()
    assert take(store, 2, reserve=lambda job: False) == []
    assert store.log.head() == before


def test_nothing_is_claimed_when_reserving_fails(store):
    add(store, new("a"), new("b"))
    before = store.log.head()

    def second_fails(job):
        if job.id == "b":
            raise OSError("no descriptors left")
        return True

    with pytest.raises(OSError, match="descriptors"):
        take(store, 2, reserve=second_fails)
    assert store.log.head() == before
    assert store.tables.processing() == []
    assert take(store, 2) == ["a", "b"]


# ── several at once ─────────────────────────────────────────────────────────────────────────────────


def test_two_stores_on_one_log_take_turns(shared, url):
    one, other = shared.open(url), shared.open(url)
    add(one, *(new(f"{i}") for i in range(6)))
    assert [take(store) for store in (one, other, other, one, one, other, one)] == [
        ["0"],
        ["1"],
        ["2"],
        ["3"],
        ["4"],
        ["5"],
        [],
    ]


def test_the_second_claimer_waits_and_takes_the_next_job(shared, url):
    one, other = shared.open(url), shared.open(url)
    add(one, new("first"), new("second"))
    taken = []
    second = Thread(target=lambda: taken.extend(take(other)))

    def start_the_other(job):
        second.start()  # while this claim holds the lock
        return True

    assert take(one, reserve=start_the_other) == ["first"]
    second.join(60)
    assert taken == ["second"]


def test_threads_never_take_the_same_job(shared, url):
    stores = [shared.open(url) for _ in range(4)]
    add(stores[0], *(new(str(i)) for i in range(80)))
    taken = []

    def work(store):
        while ids := take(store, 3):
            taken.extend(ids)

    threads = [Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(taken) == sorted(map(str, range(80)))


def test_processes_claim_every_job_exactly_once(shared, url, peers):
    store = shared.open(url)
    add(store, *(new(f"{i:03}") for i in range(400)))
    peers += [Peer() for _ in range(4)]
    assert ask_all(peers, "open", url) == [store.log.log_id] * 4
    for number, peer in enumerate(peers):
        peer.ask("claim all", f"w{number}")
    taken = [peer.answer() for peer in peers]
    assert sorted(job_id for ids in taken for job_id in ids) == [f"{i:03}" for i in range(400)]
    assert [record.type for record in store.log.records()].count("claimed") == 400
    for number, ids in enumerate(taken):
        assert {store.tables.job(job_id)["locked_by"] for job_id in ids} <= {f"w{number}"}


def test_processes_append_without_gaps(shared, url, peers):
    store = shared.open(url)
    peers += [Peer() for _ in range(4)]
    ask_all(peers, "open", url)
    assert ask_all(peers, "enqueue many", "x", 50) == [50] * 4
    assert [record.position for record in store.log.records()] == [*range(1, 201)]
    assert store.tables.counts()[0].jobs == 200


def test_a_conflict_is_decided_again(shared, url):
    one, other = shared.open(url), shared.open(url)
    [job] = add(one, new("a"))
    [moved] = add(other, more(job, claimed()))
    [result] = Queue(one, ACTOR).execute([Cancel("a", "why")], {"a": job})
    assert moved.state is State.PROCESSING
    assert result.cancel_requested == "why"  # not cancelled at once, as the pending job it knew of would have been
