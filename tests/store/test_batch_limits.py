"""The limit of failures of a batch, on each kind of store: when its pending jobs are cancelled, and by which append."""

from contextlib import closing

import pytest

from queuectl.application.batches import batches
from queuectl.application.queue import NewJob, Queue
from queuectl.checks.audit import audit
from queuectl.domain.events import After, BatchOpened, Cancelled, Released
from queuectl.domain.names import batch_stream
from queuectl.maintenance.export import export_log
from queuectl.maintenance.import_log import import_log
from queuectl.store.batch_limits import limit_of
from queuectl.store.past import Past
from queuectl.store.rows import FIRST_FORMAT
from queuectl.store.sql import waits
from tests.support.builders import ACTOR, add, buried, claimed, completed, more, new, retried

WHY = "batch g: more than 1 failure"


@pytest.fixture
def queue(store):
    yield Queue(store, ACTOR)
    assert store.upkeep.compare().first == []


def open_batch(queue, *ids, limit=1, name="g", **more):
    """Add jobs to a batch with a limit."""
    jobs = [NewJob(new(job_id, batch=name, **more).events[0], job_id) for job_id in ids]
    return queue.enqueue(jobs, BatchOpened(jobs=0, max_failures=limit))


def start(store, *ids):
    return add(store, *(more(job, claimed(job.run + 1)) for job in map(store.log.load, ids)))


def end(store, job_id, event=buried):
    job = store.log.load(job_id)
    return add(store, more(job, event(job.run)))[0]


def fail(store, *ids):
    for job_id in ids:
        start(store, job_id)
        end(store, job_id)


def states(store, ids):
    return [store.tables.job(job_id)["state"] for job_id in ids]


def test_one_failure_too_many_cancels_what_is_pending(queue, store):
    open_batch(queue, *"abcde")
    add(store, new("x"), new("y", batch="h"))
    start(store, "c")
    fail(store, "a")
    assert states(store, "abcde") == ["dlq", "pending", "processing", "pending", "pending"]
    fail(store, "b")
    assert states(store, "abcdexy") == ["dlq", "dlq", "processing", *["cancelled"] * 2, *["pending"] * 2]
    records = list(store.log.records())
    dead, *rest = records[-3:]
    assert (dead.stream_id, dead.type) == ("b", "dead_lettered")
    assert [(each.stream_id, each.type, each.event.reason, each.event.by) for each in rest] == [
        ("d", "cancelled", WHY, dead.position),
        ("e", "cancelled", WHY, dead.position),
    ]
    assert {each.recorded_at for each in rest} == {dead.recorded_at}


@pytest.mark.parametrize("back", [retried, lambda run: Released(run, "the worker stops")])
def test_a_run_that_is_to_be_repeated_is_not_then(queue, store, back):
    open_batch(queue, *"abc")
    start(store, "c")
    fail(store, "a", "b")
    assert states(store, "c") == ["processing"]
    assert end(store, "c", back).state == "cancelled"
    assert states(store, "c") == ["cancelled"]


def test_a_retry_by_hand_runs_until_the_next_failure(queue, store):
    open_batch(queue, *"abcd")
    fail(store, "a", "b")
    queue.requeue(["c", "d"])
    assert states(store, "cd") == ["pending", "pending"]
    fail(store, "c")
    assert states(store, "cd") == ["dlq", "cancelled"]
    queue.requeue(["a", "b", "c", "d"])
    fail(store, "a")
    assert states(store, "bcd") == ["pending"] * 3


def test_purged_failures_are_not_counted(queue, store):
    open_batch(queue, *"abcd")
    fail(store, "a")
    queue.purge(["a"])
    fail(store, "b")
    assert states(store, "cd") == ["pending", "pending"]


def test_several_failures_of_one_append_are_counted_together(queue, store):
    open_batch(queue, *"abc")
    jobs = start(store, "a", "b")
    add(store, *(more(job, buried()) for job in jobs))
    assert states(store, "c") == ["cancelled"]


def test_of_one_append_the_last_failure_for_good_is_the_cause(queue, store):
    open_batch(queue, *"abcde")
    [a, b, c, d] = start(store, *"abcd")
    add(store, more(a, buried()), more(b, buried()), more(c, retried()), more(d, completed()))
    places = {each.stream_id: each for each in store.log.records()}
    assert states(store, "abcde") == ["dlq", "dlq", "cancelled", "done", "cancelled"]
    assert {places[each].event.by for each in "ce"} == {places["b"].position}


def test_a_job_that_would_be_freed_is_cancelled_with_the_rest(queue, store):
    waiting = {"after": (After("b", "failed", "job"),)}
    open_batch(queue, "a", "b")
    open_batch(queue, "c", limit=None, **waiting)
    add(store, new("d", after=(After("g", "end", "batch"),)), new("e", after=(After("c"),), if_unmet="cancel"))
    fail(store, "a", "b")
    assert states(store, "cde") == ["cancelled", "pending", "cancelled"]
    assert store.tables.claimable((), 9, store.log.wall()) == ["d"]


def test_the_limit_stays_until_another_is_given(queue, store):
    open_batch(queue, "a")
    open_batch(queue, "b", limit=None)
    assert limit_of(store.log, "g") == 1
    version = store.log.version(batch_stream("g"))
    open_batch(queue, "a", "b", limit=1)
    assert store.log.version(batch_stream("g")) == version
    open_batch(queue, "a", "b", limit=2)
    assert (limit_of(store.log, "g"), store.log.version(batch_stream("g"))) == (2, version + 1)
    assert limit_of(store.log, "h") is None
    with closing(Past.of(store, 1, store.log.now())) as past:
        assert batches(Queue(past, ACTOR)) == []
    assert batches(queue)[0]["max_failures"] == 2


def test_only_a_limit_raises_the_format(queue, store):
    open_batch(queue, "a", limit=None)
    assert store.log.format() == FIRST_FORMAT
    open_batch(queue, "a", limit=1)
    assert store.log.format() == 2


def test_a_refused_append_cancels_nothing(queue, store):
    open_batch(queue, *"abc")
    fail(store, "a")
    [job] = start(store, "b")
    before = store.log.head()
    with pytest.raises(Exception, match=r"UNIQUE|unique|no gaps|append-only"):
        add(store, more(job, buried()), new("c"))
    assert (states(store, "abc"), store.log.head()) == (["dlq", "processing", "pending"], before)


def test_an_imported_log_is_not_reacted_to_again(queue, store, places, tmp_path):
    open_batch(queue, *"abcd")
    fail(store, "a", "b")
    queue.requeue(["c"])
    target = places.new_store()
    with open(tmp_path / "log", "wb") as file:
        export_log(store, file, lambda position: None)
    import_log(target, (tmp_path / "log").read_bytes().splitlines(keepends=True), lambda position: None)
    assert target.log.head() == store.log.head()
    assert states(target, "abcd") == ["dlq", "dlq", "pending", "cancelled"]
    assert target.upkeep.compare().first == []


def test_a_stop_lost_with_the_logs_end_is_made_up_for(queue, store, monkeypatch):
    open_batch(queue, *"abcd")
    with monkeypatch.context() as patch:  # as if the log ended with the failure
        patch.setattr(waits.Changed, "_stopped", lambda self: ())
        fail(store, "a", "b")
    assert audit(store.log.records()).found["limit"] == 1
    failure = store.log.head().position
    assert store.writer.release(ACTOR) == 2
    assert states(store, "abcd") == ["dlq", "dlq", "cancelled", "cancelled"]
    assert {each.event.by for each in store.log.records(after=failure)} == {failure}
    assert not audit(store.log.records()).found["limit"]


def test_a_part_of_the_cancellations_is_completed(queue, store, monkeypatch):
    open_batch(queue, *"abcd")
    with monkeypatch.context() as patch:
        patch.setattr(waits.Changed, "_stopped", lambda self: ())
        fail(store, "a", "b")
    add(store, more(store.log.load("c"), Cancelled(reason=WHY)))
    assert store.writer.release(ACTOR) == 1
    assert states(store, "abcd") == ["dlq", "dlq", "cancelled", "cancelled"]


def test_a_job_that_was_retried_after_a_stop_is_left_alone(queue, store):
    open_batch(queue, *"abcd")
    fail(store, "a", "b")
    queue.requeue(["c"])
    assert store.writer.release(ACTOR) == 0
    assert states(store, "cd") == ["pending", "cancelled"]
    assert not audit(store.log.records()).found["limit"]
