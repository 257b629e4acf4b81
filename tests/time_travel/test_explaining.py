"""`explain`: the event that led to a job's state, what the job waits for, and the possible commands."""

import pytest

from queuectl.application import explain as explaining
from queuectl.application.explain import explain
from queuectl.application.time_travel import as_of
from queuectl.domain import events as e
from queuectl.domain.names import PAUSE_ALL, queue_stream
from queuectl.errors import NoSuchJobError
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
    more,
    new,
    note,
    retried,
)


def explained(store, job_id="a", live=True):
    return explain(store, job_id, live=live, machine_losses=2)


def explanation(store, job_id="a", live=True):
    return "\n".join(explained(store, job_id, live).why)


def state_and_next(store, job_id="a"):
    found = explained(store, job_id)
    return found.state, found.position, list(found.next)


def add_job(store, clock, *events, **promises):
    return follow(store, clock, "a", a_spec(**promises), *events)


def test_a_job_that_waits_for_its_backoff(store, clock):
    add_job(store, clock, claimed(), retried(), claimed(2), retried(2, wait=4 * SECOND, cause=e.Exited(3)))
    text = explanation(store)
    assert "run 2 failed after 1s (exit 3" in text
    assert "2^2 s = 4s" in text
    assert "in 4s" in text
    assert "run 1" not in text
    assert state_and_next(store) == ("pending", 5, ["queuectl cancel a"])


def test_a_job_that_was_enqueued_for_later(store, clock):
    add_job(store, clock, delay=HOUR)
    text = explanation(store)
    assert "enqueued, at " in text
    assert "by ann@box" in text
    assert "not before 1h after it was added" in text
    assert "it is due at" in text
    assert "in 60m" in text or "in 1h" in text
    assert "order: priority" not in text


def test_a_job_that_waits_behind_others(store, clock):
    add(store, new("first", priority=5), new("second"), new("a"), new("later", delay=HOUR, priority=9))
    clock.advance(SECOND)
    assert "2 jobs are before it" in explanation(store)
    assert "it is next" in explanation(store, "first")
    assert "no worker serves queue default" in explanation(store)
    store.workers.beat(a_worker("w1", queues=("mail",)))
    assert "no worker serves queue default" in explanation(store)
    follow(store, clock, "running", a_spec(), claimed(1, "w2"))
    store.workers.beat(a_worker("w2", queues=(), slots=3, running=1))
    assert "queue default is served by w2 (1 of 3 slots busy)" in explanation(store)


def test_very_many_jobs_before_it_are_not_counted(store):
    add(store, *(new(f"j{number}") for number in range(1000)), new("a"))
    assert "at least 1000 jobs are before it" in explanation(store)


@pytest.mark.parametrize(
    ("queue", "said", "command"),
    [
        ("mail", "its queue mail is paused since", "queuectl resume mail"),
        (PAUSE_ALL, "every queue is paused since", "queuectl resume"),
    ],
)
def test_a_job_in_a_paused_queue(store, clock, queue, said, command):
    add_job(store, clock, queue="mail")
    add(store, note(store, queue_stream(queue), e.QueuePaused()))
    text = explanation(store)
    assert said in text
    assert "by ann@box" in text
    assert "order: priority" not in text
    assert state_and_next(store)[2] == [command, "queuectl cancel a"]


def test_a_job_while_another_queue_is_paused(store, clock):
    add_job(store, clock)
    add(store, note(store, queue_stream("mail"), e.QueuePaused()))
    assert "paused" not in explanation(store)


def test_a_job_in_quarantine(store, clock):
    add_job(store, clock)
    store.upkeep.quarantine("a")
    assert "it is held" in explanation(store)
    assert "due" not in explanation(store)


def test_a_running_job(store, clock):
    add_job(store, clock, claimed(), e.CancelRequested(run=1, reason="too slow"), timeout=60 * SECOND)
    clock.advance(5 * SECOND)
    text = explanation(store)
    assert "claimed for run 1" in text
    assert "worker w1 (pid 10 on box), lease 30s" in text
    assert "attempt 1 of 4 has been running for 15s" in text
    assert "its timeout is 1m" in text
    assert "cancel requested during run 1" in text
    assert "reason: too slow" in text
    assert "worker w1 is no longer listed" in text
    store.workers.beat(a_worker("w1", last_heartbeat=store.log.now() // SECOND - 3))
    assert "worker w1 sent its last heartbeat 3s ago" in explanation(store)
    assert state_and_next(store) == ("processing", 2, ["queuectl logs -f a"])


@pytest.mark.parametrize(
    ("notes", "more"), [([], ["queuectl cancel a"]), ([e.CancelRequested(run=1)], [])], ids=["lost", "cancelling"]
)
def test_a_job_whose_worker_is_lost(store, clock, monkeypatch, notes, more):
    """The advice is to start a worker, also when a cancel request waits for one."""
    monkeypatch.setattr(explaining, "is_alive", lambda store, claim: False)
    add_job(store, clock, claimed(), *notes)
    assert "is dead: the next worker that runs frees the job" in explanation(store)
    assert state_and_next(store)[2] == ["queuectl logs -f a", "queuectl run", *more]


def test_a_job_lost_with_its_machine(store, clock):
    """How often in a row, and how often that is free; also while it runs again."""
    first, second = (e.Released(run=run, reason="its machine went down", machine_losses=run) for run in (1, 2))
    add_job(store, clock, claimed(), first)
    assert "run 1 was lost with its machine at " in explanation(store)
    assert "1 in a row, and up to 2 cost no attempt (setting max-machine-losses)" in explanation(store)
    assert "the next one does" not in explanation(store)
    follow(store, clock, "a", claimed(2), second, claimed(3))
    assert "run 2 was lost with its machine at " in explanation(store)
    limit = "2 in a row, and up to 2 cost no attempt (setting max-machine-losses): the next one does"
    assert limit in explanation(store)
    follow(store, clock, "a", buried(3, cause=e.LostWorker("w1")))
    assert "it counts: the 2 runs before it were lost with their machine and did not" in explanation(store)
    follow(store, clock, "a", e.Requeued(), claimed(4))
    assert "machine" not in explanation(store)


def test_a_dead_job(store, clock):
    add_job(store, clock, claimed(), retried(), claimed(2), buried(2, cause=e.Signalled(9)), max_retries=1)
    text = explanation(store)
    assert "run 2 failed after 1s (ended by SIGKILL)" in text
    assert "attempt 2 of 2: no retries left" in text
    assert state_and_next(store) == ("dlq", 5, ["queuectl logs a", "queuectl retry a"])


def test_a_job_that_was_cancelled_while_pending(store, clock):
    add_job(store, clock, e.Cancelled(reason="not needed"))
    assert "cancelled before it ran, at " in explanation(store)
    assert "by ann@box" in explanation(store)
    assert "reason: not needed" in explanation(store)
    assert state_and_next(store) == ("cancelled", 2, ["queuectl retry a"])


def test_a_cancellation_names_the_event_that_led_to_it(store, clock):
    add(store, new("grid.1", batch="grid"))
    add(store, more(store.log.load("grid.1"), claimed()))
    [failed] = add(store, more(store.log.load("grid.1"), buried(stderr="no disk")))
    follow(store, clock, "a", new("a").events[0], e.Cancelled(reason="batch grid: more than 0 failures", by=3))
    text = explanation(store)
    assert "reason: batch grid: more than 0 failures" in text
    assert "because of event #3, grid.1: run 1 failed after 1s (exit 1: no disk), no retries left: dead" in text
    assert failed.version == 3


def test_a_job_that_was_cancelled_while_running(store, clock):
    """The worker records the end; the note before it has the actor and the reason."""
    add_job(store, clock, claimed())
    store.writer.append([_by(store, e.CancelRequested(run=1, reason="stop it"))], "bob@box")
    store.writer.append([_by(store, e.Cancelled(run=1, reason="stop it"))], "w1")
    text = explanation(store)
    assert "cancel requested during run 1" in text
    assert "by bob@box" in text
    assert "cancelled: run 1 was stopped" in text
    assert text.count("reason: stop it") == 1


def _by(store, event):
    from queuectl.store.rows import Change

    job = store.log.load("a")
    return Change("a", job.version, [event], job)


@pytest.mark.parametrize(
    ("events", "state", "said"),
    [
        ([claimed(), completed()], "done", "run 1 completed after 1s (exit 0)"),
        ([claimed(), completed(), e.Purged(reason="old")], "purged", "reason: old"),
        ([claimed(), e.Released(run=1, reason="the worker stops")], "pending", "the worker stops"),
        ([claimed(), buried(), e.Requeued(reason="again")], "pending", "requeued: pending again"),
        ([claimed(), retried(cause=e.LostWorker("w1"), wait=0)], "pending", "worker w1 was lost"),
    ],
)
def test_every_other_way_into_a_state(store, clock, events, state, said):
    add_job(store, clock, *events)
    found = explained(store)
    assert (found.state, found.position) == (state, len(events) + 1)
    assert said in explanation(store)
    assert found.next


def test_the_past_is_explained_from_earlier_events_only(store, clock):
    add_job(store, clock, claimed(), completed())
    add(store, note(store, queue_stream("default"), e.QueuePaused()), new("b"))
    store.workers.beat(a_worker("w1"))
    then = as_of(store, "1")
    assert explained(then, live=False).state == "pending"
    assert "paused" not in explanation(then, live=False)
    assert "it is next" in explanation(then, live=False)
    assert "serve" not in explanation(then, live=False)
    assert "w1" in explanation(as_of(store, "2"), live=False)
    assert "heartbeat" not in explanation(as_of(store, "2"), live=False)


def test_an_unknown_job_is_refused(store):
    with pytest.raises(NoSuchJobError, match="no such job: a"):
        explained(store)


def test_the_past_of_a_log_that_was_ahead_goes_by_the_wall_clock(store, clock):
    """One event was recorded two days ahead, then the clock was right: the log's order does not decide what is due."""
    clock.turn(48 * HOUR)
    add(store, new("early", delay=HOUR))
    clock.turn(-48 * HOUR)
    add(store, new("at", at=clock.now() + 2 * HOUR), new("waits", delay=HOUR))
    position = store.log.head().position
    clock.advance(72 * HOUR)
    add(store, new("later"))
    then = as_of(store, str(position))
    try:
        assert "it is due at" in explanation(then, "at", live=False)
        assert "in 2h" in explanation(then, "at", live=False)
        assert "in 60m" in explanation(then, "waits", live=False) or "in 1h" in explanation(then, "waits", live=False)
        assert "recorded by a clock that was 2d ahead" in explanation(then, "early", live=False)
    finally:
        then.close()
