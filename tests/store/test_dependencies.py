"""Jobs that wait for others, on each kind of store: when they are freed, held or cancelled, and that tables follow."""

import random
from contextlib import closing, suppress
from itertools import pairwise

import pytest

from queuectl.application import dependency_cycles
from queuectl.application.after_fields import edges
from queuectl.application.dependencies import resolved
from queuectl.application.editing import Edit, Editor
from queuectl.application.job_json import JobInput
from queuectl.application.queue import NewJob, Queue
from queuectl.checks.audit import audit
from queuectl.checks.verify import verify
from queuectl.config import Config
from queuectl.domain import commands as c
from queuectl.domain import events as e
from queuectl.domain.events import After
from queuectl.errors import NoSuchJobError, RefusedError, UsageError
from queuectl.maintenance.export import export_log
from queuectl.maintenance.import_log import import_log
from queuectl.store.past import Past
from queuectl.store.rows import JobFilter, Waiting
from tests.support.builders import ACTOR, HOUR, SECOND, a_spec, add, buried, claimed, completed, more, new


@pytest.fixture
def queue(store):
    yield Queue(store, ACTOR)
    assert store.upkeep.compare().first == []
    head = store.log.head()
    with closing(Past.of(store, head.position, store.log.now())) as past:
        assert past.waits.dependencies() == store.waits.dependencies()
        assert past.waits.by_queue() == store.waits.by_queue()
    assert store.log.head() == head


def after(*names, **more):
    """The fields of a job that waits; `build:end` waits for the end of build, `@grid` for a batch."""
    edges = []
    for text in names:
        name, _, on = text.partition(":")
        edges.append(After(name.removeprefix("@"), on or "ok", "batch" if name.startswith("@") else "job"))
    return {"after": tuple(edges), **more}


def finish(store, job_id, *, fails=False):
    """Run a job once: it completes, or goes to the dead-letter queue."""
    job = store.log.load(job_id)
    run = job.run + 1
    [job] = add(store, more(job, claimed(run)))
    return add(store, more(job, buried(run) if fails else completed(run)))[0]


def types(store, job_id):
    return [record.type for record in store.log.records(stream_id=job_id)]


def claimable(store):
    """The ids of the jobs that can start, sorted."""
    return sorted(store.tables.claimable((), 100, store.log.wall()))


def held(store):
    return store.tables.ids(JobFilter(held=True, descending=False, limit=0))


def test_a_job_waits_until_the_other_is_done(queue, store):
    add(store, new("build"), new("test", **after("build")))
    assert claimable(store) == ["build"]
    assert store.tables.job("test")["waits"] == 1
    finish(store, "build")
    assert claimable(store) == ["test"]
    assert types(store, "test") == ["enqueued", "dependencies_met"]
    met = list(store.log.records(stream_id="test"))[-1].event
    assert (met.by, met.forced) == (4, False)
    finish(store, "test")


def test_a_diamond_is_freed_from_top_to_bottom(queue, store):
    add(store, new("a"), new("b", **after("a")), new("c", **after("a")), new("d", **after("b", "c")))
    finish(store, "a")
    assert claimable(store) == ["b", "c"]
    finish(store, "b")
    assert claimable(store) == ["c"]
    finish(store, "c")
    assert claimable(store) == ["d"]


@pytest.mark.parametrize(
    ("wanted", "end", "freed"),
    [
        ("ok", "done", True),
        ("ok", "dlq", False),
        ("ok", "cancelled", False),
        ("end", "done", True),
        ("end", "dlq", True),
        ("end", "cancelled", True),
        ("failed", "done", False),
        ("failed", "dlq", True),
        ("failed", "cancelled", False),
    ],
)
@pytest.mark.parametrize("when", ["before", "ended", "purged"])
def test_each_end_meets_what_it_should(queue, store, wanted, end, freed, when):
    add(store, new("a"))
    if when == "before":
        add(store, new("b", **after(f"a:{wanted}")))
    if end == "cancelled":
        queue.cancel(["a"])
    else:
        finish(store, "a", fails=end == "dlq")
    if when == "purged":
        queue.purge(["a"])
    if when != "before":
        add(store, new("b", **after(f"a:{wanted}")))
    assert claimable(store) == (["b"] if freed else [])
    assert held(store) == ([] if freed else ["b"])
    if freed:
        met = list(store.log.records(stream_id="b"))[-1].event
        assert (met.by > 0) is (when == "before")


def test_a_repaired_cause_frees_the_whole_chain(queue, store):
    add(store, new("a"), new("b", **after("a")), new("c", **after("b")))
    finish(store, "a", fails=True)
    assert held(store) == ["b"]
    assert store.waits.by_queue() == [Waiting("default", 2, 1)]
    queue.requeue(["a"])
    assert held(store) == []
    for job_id in "abc":
        assert claimable(store) == [job_id]
        finish(store, job_id)


def test_a_cause_that_is_requeued_opens_its_edge_again(queue, store):
    add(store, new("a"), new("b"), new("c", **after("a", "b")))
    finish(store, "a")
    assert store.tables.job("c")["waits"] == 1
    queue.requeue(["a"])
    assert store.tables.job("c")["waits"] == 2
    finish(store, "b")
    assert claimable(store) == ["a"]
    finish(store, "a")
    assert claimable(store) == ["c"]


def test_an_unmeetable_dependency_cancels_the_chain_if_asked(queue, store):
    cancel = {"if_unmet": "cancel"}
    add(store, new("a"), new("b", **after("a", **cancel)), new("c", **after("b", **cancel)), new("d", **after("c")))
    finish(store, "a", fails=True)
    assert [store.tables.job(each)["state"] for each in "bcd"] == ["cancelled", "cancelled", "pending"]
    a, b, c = (list(store.log.records(stream_id=each))[-1] for each in "abc")
    assert (b.event.reason, b.event.by) == ("a is in the dead-letter queue", a.position)
    assert (c.event.reason, c.event.by) == ("b was cancelled", b.position)
    assert held(store) == ["d"]


def test_a_batch_is_waited_for_as_a_whole(queue, store):
    add(store, new("g.1", batch="g"), new("g.2", batch="g"))
    add(store, *(new(on, **after(f"@g:{on}")) for on in ("ok", "end", "failed")))
    finish(store, "g.1", fails=True)
    assert claimable(store) == ["g.2"]
    finish(store, "g.2")
    assert claimable(store) == ["end", "failed"]
    assert held(store) == ["ok"]
    queue.purge(["g.1"])
    assert held(store) == ["ok"]
    queue.requeue(["g.1"])
    assert held(store) == []
    finish(store, "g.1")
    assert claimable(store) == ["end", "failed", "ok"]


def test_a_purged_failure_still_counts_for_its_batch(queue, store):
    add(store, new("g.1", batch="g"), new("g.2", batch="g"))
    finish(store, "g.1", fails=True)
    queue.purge(["g.1"])
    finish(store, "g.2")
    add(store, new("ok", **after("@g")), new("failed", **after("@g:failed")))
    assert (held(store), claimable(store)) == (["ok"], ["failed"])


def test_a_job_added_to_a_batch_opens_it_again(queue, store):
    add(store, new("g.1", batch="g"), new("x"), new("b", **after("@g", "x")))
    finish(store, "g.1")
    add(store, new("g.2", batch="g"))
    finish(store, "x")
    assert claimable(store) == ["g.2"]
    finish(store, "g.2")
    assert claimable(store) == ["b"]


def test_an_unblocked_job_does_not_wait(queue, store):
    add(store, new("a"), new("b", **after("a")))
    queue.execute([c.Unblock("b", "known to be fine")])
    assert claimable(store) == ["a", "b"]
    met = list(store.log.records(stream_id="b"))[-1].event
    assert met == e.DependenciesMet(forced=True, reason="known to be fine")


def test_a_retried_job_waits_only_if_it_was_never_freed(queue, store):
    add(store, new("a"), new("b", **after("a")), new("c", **after("a")))
    queue.cancel(["c"])
    queue.requeue(["c"])
    finish(store, "a")
    finish(store, "b", fails=True)
    queue.requeue(["a", "b"])
    assert claimable(store) == ["a", "b", "c"]
    queue.cancel(["c", "a"])
    add(store, new("d", **after("a")))
    queue.cancel(["d"])
    queue.requeue(["d"])
    assert held(store) == ["d"]


def test_a_delay_counts_from_the_moment_it_is_freed(queue, store, clock):
    add(store, new("a"), new("b", **after("a", delay=10 * SECOND)), new("c", **after("a", at=clock.now() + HOUR)))
    clock.advance(60 * SECOND)
    finish(store, "a")
    assert store.tables.job("b")["due_at"] == clock.now() + 10 * SECOND
    assert store.tables.job("c")["due_at"] == clock.now() + HOUR - 60 * SECOND


def test_many_causes_make_one_event_at_the_end(queue, store):
    names = [f"a{number}" for number in range(50)]
    add(store, *map(new, names), new("end", **after(*names)))
    jobs = [store.log.load(name) for name in names]
    jobs = add(store, *(more(job, claimed()) for job in jobs))
    for job in jobs[:-1]:
        add(store, more(job, completed()))
    assert types(store, "end") == ["enqueued"]
    add(store, more(jobs[-1], completed()))
    assert types(store, "end") == ["enqueued", "dependencies_met"]


def test_the_queue_is_not_reactive_without_waiting_jobs(queue, store):
    def reactive():
        return int(store.engine.meta()["reactive"])

    add(store, new("a"))
    assert reactive() == 0
    add(store, new("b", **after("a")))
    assert reactive() == 1
    finish(store, "a")
    assert reactive() == 0


def test_a_refused_append_leaves_nothing_of_its_consequences(queue, store):
    [a, _] = add(store, new("a"), new("b", **after("a")))
    before = store.waits.dependencies()
    with pytest.raises(Exception, match=r"UNIQUE|unique|no gaps|append-only"), store.writer.transaction():
        add(store, more(a, claimed(), completed()), new("b"))
    assert store.waits.dependencies() == before
    assert store.log.head().position == 2


def test_an_imported_log_has_the_same_waits(places, tmp_path):
    source, target = places.new_store(), places.new_store()
    add(source, new("a"), new("g.1", batch="g"), new("b", **after("a", "@g")), new("c", **after("b")))
    finish(source, "a")
    with open(tmp_path / "log", "wb") as file:
        export_log(source, file, lambda position: None)
    import_log(target, (tmp_path / "log").read_bytes().splitlines(keepends=True), lambda position: None)
    assert target.waits.dependencies() == source.waits.dependencies() != []
    assert target.upkeep.compare().first == []
    assert target.log.head() == source.log.head()
    finish(target, "g.1")
    assert claimable(target) == ["b"]


def test_corrupt_waits_are_found_and_rebuilt(store):
    add(store, new("a"), new("b", **after("a")), new("c", **after("a")))
    expected = store.waits.dependencies()
    for damage in ("UPDATE waits SET standing = 'met'", "DELETE FROM waits WHERE id = 'b'", "DELETE FROM waits"):
        with store.writer.transaction():
            store.engine.run(damage)
        assert store.upkeep.compare().total > 0
        store.upkeep.rebuild()
        assert store.waits.dependencies() == expected
        assert store.upkeep.compare().first == []


def test_a_release_lost_with_the_logs_end_is_made_up_for(store):
    add(store, new("a"), new("b", **after("a")))
    finish(store, "a")
    assert store.writer.release(ACTOR) == 0
    add(store, new("c"), new("d", **after("c")))
    with store.writer.transaction():  # as if only the cause had been put back
        store.engine.run("UPDATE waits SET standing = 'met'")
    assert store.writer.release(ACTOR) == 1
    assert claimable(store) == ["b", "c", "d"]


def test_a_cancellation_lost_with_the_logs_end_is_made_up_for(store):
    add(store, new("a"), new("b", if_unmet="cancel", **after("a")), new("c", **after("b")))
    with store.writer.transaction():  # as if only the cause had been put back
        store.engine.run("UPDATE waits SET standing = 'never' WHERE id = 'b'")
    assert store.writer.release(ACTOR) == 1
    assert store.log.load("b").state == "cancelled"
    assert [row.standing for row in store.waits.dependencies("c")] == ["never"]


# ── edits of what jobs wait for ─────────────────────────────────────────────────────────────────────────


def edit(queue, job_id, *texts, **wanted):
    """Edit what a job waits for: these, as the command line takes them; none: nothing any more."""
    [(_, job)] = Editor(queue, Config({}, {}, {}, dict)).edit([job_id], Edit(JobInput(after=texts, **wanted)))
    return job


def standings(store, job_id):
    return [(row.name, row.wanted, row.standing) for row in store.waits.dependencies(job_id)]


def check(store):
    assert verify(store).counts == {}
    assert audit(store.log.records()).found == {}
    assert not store.upkeep.rebuild().total


def test_an_edit_makes_a_job_wait(queue, store):
    add(store, new("build"), new("test"))
    job = edit(queue, "test", "build")
    assert (job.is_waiting, store.tables.job("test")["due_at"], claimable(store)) == (True, None, ["build"])
    assert standings(store, "test") == [("build", "ok", "open")]
    finish(store, "build")
    assert types(store, "test") == ["enqueued", "amended", "dependencies_met"]
    assert claimable(store) == ["test"]
    check(store)


def test_an_edit_replaces_what_a_job_waits_for(queue, store):
    add(store, new("a"), new("b"), new("c", max_retries=0), new("test", **after("a", "b")))
    edit(queue, "test", "c:end", "b")
    assert standings(store, "test") == [("c", "end", "open"), ("b", "ok", "open")]
    finish(store, "c", fails=True)
    finish(store, "b")
    assert claimable(store) == ["a", "test"]
    check(store)


def test_an_edit_to_what_has_ended_frees_at_once(queue, store):
    add(store, new("a"), new("b"), new("test", **after("a")))
    finish(store, "b")
    assert not edit(queue, "test", "b").is_waiting
    assert types(store, "test") == ["enqueued", "amended", "dependencies_met"]
    assert claimable(store) == ["a", "test"]
    check(store)


def test_an_edit_of_if_unmet_counts_for_a_held_job_too(queue, store):
    add(store, new("a", max_retries=0), new("x"), new("y", **after("a")), new("z", **after("a", if_unmet="cancel")))
    change(queue, "y", "cancel")
    change(queue, "z", "hold")
    with pytest.raises(UsageError, match="if_unmet goes with after: job x waits for no other job"):
        change(queue, "x", "cancel")
    finish(store, "a", fails=True)
    assert (store.log.load("y").state, held(store)) == ("cancelled", ["z"])
    change(queue, "z", "cancel")
    assert types(store, "z") == ["enqueued", "amended", "amended", "cancelled"]
    assert types(store, "x") == ["enqueued"]
    check(store)


def change(queue, job_id, if_unmet):
    Editor(queue, Config({}, {}, {}, dict)).edit([job_id], Edit(JobInput(if_unmet=if_unmet)))


def test_an_edit_frees_a_held_job_or_holds_it(queue, store):
    add(store, new("a", max_retries=0), new("b"), new("test", **after("a")))
    finish(store, "a", fails=True)
    assert held(store) == ["test"]
    edit(queue, "test", "b")
    assert held(store) == []
    edit(queue, "test", "a")
    assert held(store) == ["test"]
    check(store)


def test_an_edit_cancels_a_job_that_is_not_to_be_held(queue, store):
    add(
        store,
        new("a", max_retries=0),
        new("b"),
        new("test", **after("b", if_unmet="cancel")),
        new("last", **after("test:end")),
    )
    finish(store, "a", fails=True)
    edit(queue, "test", "a")
    assert types(store, "test") == ["enqueued", "amended", "cancelled"]
    assert list(store.log.records(stream_id="test"))[-1].event.by == 0
    assert claimable(store) == ["b", "last"]
    check(store)


def test_a_job_that_waits_no_longer_is_due_as_promised(queue, store, clock):
    add(store, new("a"), new("b", **after("a")), new("c", **after("a", delay=HOUR)), new("d", **after("a")))
    edit(queue, "b")
    edit(queue, "c")
    edit(queue, "d", delay="2h")
    due = [store.tables.job(each)["due_at"] - store.log.wall() for each in "bcd"]
    assert due == [0, HOUR, 2 * HOUR]
    assert store.waits.dependencies() == []
    check(store)


def test_a_job_that_begins_to_wait_keeps_its_due_time(queue, store, clock):
    add(store, new("a"), new("late", delay=HOUR), new("old", delay=SECOND))
    clock.advance(2 * SECOND)
    due = store.tables.job("late")["due_at"]
    edit(queue, "late", "a")
    edit(queue, "old", "a")
    finish(store, "a")
    assert (store.tables.job("late")["due_at"], claimable(store)) == (due, ["old"])
    check(store)


def test_a_freed_job_waits_again_after_an_edit(queue, store):
    add(store, new("a"), new("test", **after("a")))
    finish(store, "a")
    queue.requeue(["a"])
    assert claimable(store) == ["a", "test"]
    assert edit(queue, "test", "a").is_waiting
    head = store.log.head()
    edit(queue, "test", "a")
    assert store.log.head() == head
    finish(store, "a")
    assert claimable(store) == ["test"]
    check(store)


def test_an_edit_makes_no_cycle(queue, store):
    add(store, new("a", batch="grid"), new("b", **after("a")), new("c", **after("b")), new("d", **after("@grid")))
    head = store.log.head()
    for texts, chain in (
        (["a"], "job a cannot wait for itself"),
        (["c"], "a → c → b → a"),
        (["batch:grid"], "a → batch grid → a"),
        (["d"], "a → d → batch grid → a"),
    ):
        with pytest.raises(UsageError, match=chain):
            edit(queue, "a", *texts)
    queue.cancel(["b"])
    with pytest.raises(UsageError, match="a → b → a"):  # it would wait for `a` again when it is retried
        edit(queue, "a", "b")
    assert store.log.head().position == head.position + 1


def into_grid(*after, job_id="k", line=None):
    """A new job of the batch `grid` that waits for these."""
    return NewJob(a_spec(batch="grid", after=edges(after)), job_id, line)


CYCLES = {
    "its own batch": ([into_grid("batch:grid:end")], "a job of batch grid cannot wait for that batch"),
    "a job that waits for its batch": ([into_grid("d")], "would wait for that batch: batch grid → d → batch grid"),
    "over another batch": ([into_grid("batch:other")], "batch grid → batch other → e → d → batch grid"),
    "an earlier line": (
        [NewJob(a_spec(after=edges(("batch:grid",))), "n", 1), into_grid("n", line=2)],
        "line 2: a job of batch grid would wait for that batch: batch grid → n → batch grid",
    ),
    "a job without an id": (
        [NewJob(a_spec(batch="more", after=edges(("d",)))), into_grid("batch:more")],
        "batch more → d → batch grid → k → batch more",
    ),
}


@pytest.mark.parametrize("case", CYCLES)
def test_a_new_job_does_not_wait_for_its_own_batch(queue, store, case):
    add(store, new("a", batch="grid"), new("b"), new("d", **after("@grid")), new("e", batch="other", **after("d")))
    jobs, error = CYCLES[case]
    with pytest.raises(UsageError, match=error):
        resolved(queue, jobs)


def test_two_who_add_at_once_make_no_cycle(queue, store):
    add(store, new("a", batch="grid"), new("b", batch="other"))
    first = resolved(queue, [into_grid("batch:other")])
    second = resolved(queue, [NewJob(a_spec(batch="other", after=edges(("batch:grid",))), "l")])
    queue.enqueue(first)
    head = store.log.head()
    with pytest.raises(UsageError, match="batch other → batch grid → k → batch other"):
        queue.enqueue(second)
    assert store.log.head() == head
    assert [receipt.created for receipt in queue.enqueue(first)] == [False]


def test_a_retry_makes_no_cycle(queue, store):
    """`d` waited for the batch, and was cancelled. Then a job of the batch begins to wait for `d`."""
    add(store, new("a", batch="grid"), new("d", **after("@grid")))
    queue.cancel(["d"])
    queue.enqueue(resolved(queue, [into_grid("d")]))
    head = store.log.head()
    with pytest.raises(RefusedError, match="job d would wait for itself: d → batch grid → k → d"):
        queue.requeue(["d"])
    assert store.log.head() == head
    edit(queue, "k", "a")
    queue.requeue(["d"])
    check(store)


def test_a_retry_looks_for_cycles_under_the_log_lock(queue, store, monkeypatch):
    add(store, new("a"), new("d", **after("a")))
    queue.cancel(["d"])
    held = []
    monkeypatch.setattr(dependency_cycles, "refuse_retry", lambda store, _: held.append(store.log.locked_head))
    queue.requeue(["d"])
    assert held
    assert None not in held


def test_a_chain_that_was_cancelled_is_retried_from_either_end(queue, store):
    for letter, order in (("a", 1), ("b", -1)):
        names = [f"{letter}{number}" for number in range(5)]
        add(store, new(names[0]), *(new(name, **after(before)) for before, name in pairwise(names)))
        queue.cancel(names)
        assert queue.requeue_those_that_can(names[::order]) == {}
    check(store)


def test_a_new_job_of_a_batch_may_wait_for_others(queue, store):
    add(store, new("a", batch="grid"), new("b"), new("d", **after("@grid")), new("e", batch="other"))
    jobs = [into_grid("a", "b", "batch:other"), into_grid("k", job_id="l")]
    assert resolved(queue, jobs) == jobs
    assert resolved(None, [NewJob(a_spec(), "k"), into_grid("k", job_id="l")])[1].id == "l"


def test_several_jobs_are_edited_without_a_cycle(queue, store):
    add(store, new("a"), new("b"), new("c", **after("b")))
    editor = Editor(queue, Config({}, {}, {}, dict))
    with pytest.raises(UsageError, match="job b would wait for itself: b → c → b"):
        editor.edit(["a", "b"], Edit(JobInput(after=("c",))))
    editor.edit(["b", "c"], Edit(JobInput(after=("a",))))
    assert claimable(store) == ["a"]
    check(store)


@pytest.mark.parametrize("seed", range(3))
def test_tables_follow_the_log_whatever_is_edited(queue, store, seed):
    """Random edits, results, cancellations and retries; at last the audit agrees, and nothing waits for itself."""
    choose = random.Random(seed)
    ids = [f"job{number}" for number in range(6)]
    add(store, *(new(each, batch=choose.choice(("x", "y", None)), max_retries=0) for each in ids))
    things = [*ids, "job1:end", "job2:failed", "batch:x", "batch:y:end"]
    for _ in range(60):
        job_id = choose.choice(ids)
        ready = claimable(store)
        with suppress(UsageError, RefusedError, NoSuchJobError):
            match choose.randrange(5):
                case 0 | 1:
                    edit(queue, job_id, *choose.sample(things, choose.randrange(3)))
                case 2 if ready:
                    finish(store, choose.choice(ready), fails=choose.random() < 0.3)
                case 3:
                    queue.requeue([job_id])
                case 4:
                    choose.choice((queue.cancel, queue.unblock, queue.purge))([job_id])
        assert store.upkeep.compare().first == []
    check(store)
