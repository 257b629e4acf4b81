"""Why a job is where it is: the fact that put it there, what it waits for, and what one can do."""

import pytest

from queuectl.application import explain as explaining
from queuectl.application.explain import explain
from queuectl.application.time_travel import as_of
from queuectl.domain import events as e
from queuectl.store.protocol import PAUSE_ALL, queue_stream
from tests.support.builders import (
    HOUR,
    SECOND,
    a_spec,
    a_worker,
    add,
    buried,
    claimed,
    completed,
    follow,
    new,
    note,
    retried,
)


def why(store, job_id="a", live=True):
    return "\n".join(explain(store, job_id, live=live).why)


def state_and_next(store, job_id="a"):
    found = explain(store, job_id, live=True)
    return found.state, found.position, list(found.next)


def lives(store, clock, *events, **promises):
    return follow(store, clock, "a", a_spec(**promises), *events)


def test_it_waits_out_its_backoff(store, clock):
    lives(store, clock, claimed(), retried(), claimed(2), retried(2, wait=4 * SECOND, cause=e.Exited(3)))
    told = why(store)
    assert "attempt 2 of 4 (run 2) failed after 1.0 s: exited with code 3" in told
    assert "2^2 = 4 s" in told
    assert "in 4.0 s" in told
    assert "run 1" not in told
    assert state_and_next(store) == ("pending", 5, ["queuectl cancel a"])


def test_it_is_not_due_because_it_was_enqueued_for_later(store, clock):
    lives(store, clock, delay=HOUR)
    told = why(store)
    assert "enqueued, at " in told
    assert "by ann@box" in told
    assert "not before 1h have passed" in told
    assert "it is due at" in told
    assert "in 60m" in told or "in 1h" in told
    assert "order: priority" not in told


def test_it_waits_behind_others(store, clock):
    add(store, new("first", priority=5), new("second"), new("a"), new("later", delay=HOUR, priority=9))
    clock.advance(SECOND)
    assert "2 jobs are before it" in why(store)
    assert "it is next" in why(store, "first")
    assert "no worker serves queue default" in why(store)
    store.workers.beat(a_worker("w1", queues=("mail",)))
    assert "no worker serves queue default" in why(store)
    follow(store, clock, "running", a_spec(), claimed(1, "w2"))
    store.workers.beat(a_worker("w2", queues=(), slots=3, running=1))
    assert "queue default is served by w2 (1 of 3 slots busy)" in why(store)


def test_so_many_stand_before_it_that_they_are_not_counted(store):
    add(store, *(new(f"j{number}") for number in range(1000)), new("a"))
    assert "at least 1000 jobs are before it" in why(store)


@pytest.mark.parametrize(
    ("queue", "said", "command"),
    [
        ("mail", "its queue mail is paused since", "queuectl resume mail"),
        (PAUSE_ALL, "every queue is paused since", "queuectl resume"),
    ],
)
def test_its_queue_is_paused(store, clock, queue, said, command):
    lives(store, clock, queue="mail")
    add(store, note(store, queue_stream(queue), e.QueuePaused()))
    told = why(store)
    assert said in told
    assert "by ann@box" in told
    assert "order: priority" not in told
    assert state_and_next(store)[2] == [command, "queuectl cancel a"]


def test_another_queue_is_paused(store, clock):
    lives(store, clock)
    add(store, note(store, queue_stream("mail"), e.QueuePaused()))
    assert "paused" not in why(store)


def test_it_is_held(store, clock):
    lives(store, clock)
    store.upkeep.hold("a")
    assert "it is held" in why(store)
    assert "due" not in why(store)


def test_it_runs(store, clock):
    lives(store, clock, claimed(), e.CancelRequested(run=1, reason="too slow"), timeout=60 * SECOND)
    clock.advance(5 * SECOND)
    told = why(store)
    assert "claimed for run 1" in told
    assert "worker w1 (pid 10 on box), lease 30s" in told
    assert "attempt 1 of 4 has been running for 15.0 s" in told
    assert "it may take 1m" in told
    assert "cancel requested while run 1 was on" in told
    assert "reason: too slow" in told
    assert "worker w1 is no longer listed" in told
    store.workers.beat(a_worker("w1", last_heartbeat=store.log.now() // SECOND - 3))
    assert "worker w1 sent its last heartbeat 3s ago" in why(store)
    assert state_and_next(store) == ("processing", 2, ["queuectl logs -f a"])


@pytest.mark.parametrize(
    ("notes", "more"), [([], ["queuectl cancel a"]), ([e.CancelRequested(run=1)], [])], ids=["lost", "called off"]
)
def test_its_worker_is_lost(store, clock, monkeypatch, notes, more):
    """What helps is another worker, above all when the cancel only waits for one."""
    monkeypatch.setattr(explaining, "is_alive", lambda store, claim: False)
    lives(store, clock, claimed(), *notes)
    assert "is lost, its process is gone: the next worker that runs frees the job" in why(store)
    assert state_and_next(store)[2] == ["queuectl logs -f a", "queuectl run", *more]


def test_it_is_dead(store, clock):
    lives(store, clock, claimed(), retried(), claimed(2), buried(2, cause=e.Signalled(9)), max_retries=1)
    told = why(store)
    assert "attempt 2 of 2 (run 2) failed after 1.0 s: ended by SIGKILL" in told
    assert "no retry is left" in told
    assert state_and_next(store) == ("dlq", 5, ["queuectl logs a", "queuectl retry a"])


def test_it_was_cancelled_while_it_waited(store, clock):
    lives(store, clock, e.Cancelled(reason="not needed"))
    assert "cancelled before it ran, at " in why(store)
    assert "by ann@box" in why(store)
    assert "reason: not needed" in why(store)
    assert state_and_next(store) == ("cancelled", 2, ["queuectl retry a"])


def test_it_was_cancelled_while_it_ran(store, clock):
    """The worker records the end; who asked for it and why is in the note before."""
    lives(store, clock, claimed())
    store.writer.append([_by(store, e.CancelRequested(run=1, reason="stop it"))], "bob@box")
    store.writer.append([_by(store, e.Cancelled(run=1, reason="stop it"))], "w1")
    told = why(store)
    assert "cancel requested while run 1 was on" in told
    assert "by bob@box" in told
    assert "cancelled: run 1 was ended" in told
    assert told.count("reason: stop it") == 1


def _by(store, event):
    from queuectl.store.protocol import Change

    job = store.log.load("a")
    return Change("a", job.version, [event], job)


@pytest.mark.parametrize(
    ("events", "state", "said"),
    [
        ([claimed(), completed()], "done", "run 1 exited with code 0 after 1.0 s"),
        ([claimed(), completed(), e.Purged(reason="old")], "purged", "reason: old"),
        ([claimed(), e.Released(run=1, reason="the worker stops")], "pending", "the worker stops"),
        ([claimed(), buried(), e.Requeued(reason="again")], "pending", "requeued: pending again"),
        ([claimed(), retried(cause=e.LostWorker("w1"), wait=0)], "pending", "worker w1 was lost"),
    ],
)
def test_every_other_way_to_where_it_is(store, clock, events, state, said):
    lives(store, clock, *events)
    found = explain(store, "a", live=True)
    assert (found.state, found.position) == (state, len(events) + 1)
    assert said in why(store)
    assert found.next


def test_the_past_is_explained_from_the_past(store, clock):
    lives(store, clock, claimed(), completed())
    add(store, note(store, queue_stream("default"), e.QueuePaused()), new("b"))
    store.workers.beat(a_worker("w1"))
    then = as_of(store, "1")
    assert explain(then, "a", live=False).state == "pending"
    assert "paused" not in why(then, live=False)
    assert "it is next" in why(then, live=False)
    assert "serve" not in why(then, live=False)
    assert "w1" in why(as_of(store, "2"), live=False)
    assert "heartbeat" not in why(as_of(store, "2"), live=False)


def test_there_is_no_such_job(store):
    assert explain(store, "a", live=True) is None
