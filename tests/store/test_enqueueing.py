"""The use case `enqueue` on a store: an id is used once, a key once, a batch is all or nothing."""

import pytest

from queuectl.application.queue import NewJob, Queue, Receipt
from queuectl.domain import events as e
from queuectl.domain.commands import Claim, Exit, Report
from queuectl.domain.names import queue_stream
from queuectl.errors import RefusedError, StoreError
from queuectl.store.errors import VersionConflictError
from tests.support.builders import ACTOR, a_spec, add, claimant, everything, more, new, note
from tests.support.overriding import Overriding


@pytest.fixture
def queue(store):
    return Queue(store, ACTOR)


def job(job_id=None, command="true", line=None, **promises):
    return NewJob(a_spec(command, **promises), job_id, line)


def finish(queue, job_id):
    queue.execute([Claim(job_id, claimant())])
    queue.execute([Report(job_id, queue.store.log.load(job_id).run, Exit())])


def ids(queue):
    return [record.stream_id for record in queue.store.log.records() if record.type == "enqueued"]


# ── ids ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_without_an_id_gets_one(queue):
    receipts = queue.enqueue([job(), job()])
    assert [receipt.created for receipt in receipts] == [True, True]
    assert len({receipt.id for receipt in receipts}) == 2
    assert ids(queue) == [receipt.id for receipt in receipts]


def test_the_same_id_and_specification_again_writes_nothing(queue, clock):
    assert queue.enqueue([job("a", tags={"k": "v"})]) == [Receipt("a", True)]
    before = everything(queue.store)
    clock.advance(1)
    assert queue.enqueue([job("a", tags={"k": "v"})]) == [Receipt("a", False)]
    assert everything(queue.store) == before


@pytest.mark.parametrize("end", [finish, lambda queue, job_id: queue.cancel([job_id])])
def test_an_id_is_never_used_again_also_when_purged(queue, end):
    queue.enqueue([job("a")])
    end(queue, "a")
    queue.purge(["a"])
    before = everything(queue.store)
    assert queue.enqueue([job("a")]) == [Receipt("a", False)]
    with pytest.raises(RefusedError, match="the id a is taken"):
        queue.enqueue([job("a", "false")])
    assert everything(queue.store) == before


@pytest.mark.parametrize("difference", [{"command": "false"}, {"priority": 1}, {"tags": {"k": "v"}}, {"unique": "k"}])
def test_a_taken_id_with_another_specification_is_refused(queue, difference):
    queue.enqueue([job("a")])
    before = everything(queue.store)
    with pytest.raises(RefusedError, match="the id a is taken") as refusal:
        queue.enqueue([job("a", **difference)])
    assert refusal.value.exit_code == 4
    assert everything(queue.store) == before


# ── unique keys ─────────────────────────────────────────────────────────────────────────────────────


def test_a_taken_key_returns_its_holder(queue):
    [first] = queue.enqueue([job(unique="k")])
    before = everything(queue.store)
    assert queue.enqueue([job(unique="k")]) == [Receipt(first.id, False)]
    assert queue.enqueue([job("mine", "false", unique="k")]) == [Receipt(first.id, False)]
    assert everything(queue.store) == before


def test_a_key_is_held_while_processing_and_free_after(queue):
    queue.enqueue([job("a", unique="k")])
    queue.execute([Claim("a", claimant())])
    assert queue.enqueue([job("b", unique="k")]) == [Receipt("a", False)]
    queue.execute([Report("a", 1, Exit())])
    assert queue.enqueue([job("b", unique="k")]) == [Receipt("b", True)]


def test_a_job_is_its_own_holder(queue):
    queue.enqueue([job("a", unique="k")])
    assert queue.enqueue([job("a", unique="k")]) == [Receipt("a", False)]


def test_requeueing_against_a_holder_is_refused(queue):
    queue.enqueue([job("a", unique="k")])
    queue.cancel(["a"])
    queue.enqueue([job("b", unique="k")])
    before = everything(queue.store)
    with pytest.raises(RefusedError, match="held by the live job b"):
        queue.requeue(["a"])
    assert everything(queue.store) == before
    queue.cancel(["b"])
    queue.requeue(["a"])
    assert queue.store.tables.holder("k") == "a"


def test_a_key_within_one_batch_is_the_first_jobs(queue):
    receipts = queue.enqueue([job("a", unique="k"), job(unique="k"), job("c", unique="k"), job("d", unique="other")])
    assert receipts == [Receipt("a", True), Receipt("a", False), Receipt("a", False), Receipt("d", True)]
    assert ids(queue) == ["a", "d"]


def test_different_keys_do_not_conflict(queue):
    receipts = queue.enqueue([job("a", unique="k"), job("b", unique="K"), job("c", unique=""), job("d")])
    assert [receipt.created for receipt in receipts] == [True] * 4


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_id_twice_in_a_batch_is_one_job(queue):
    assert queue.enqueue([job("a"), job("b"), job("a")]) == [
        Receipt("a", True),
        Receipt("b", True),
        Receipt("a", False),
    ]
    assert ids(queue) == ["a", "b"]


def test_an_id_twice_in_a_batch_for_different_jobs_is_refused(queue):
    with pytest.raises(RefusedError, match="line 3: the id a is given twice"):
        queue.enqueue([job("a", line=1), job("b", line=2), job("a", "false", line=3)])
    assert ids(queue) == []


def test_a_batch_is_all_or_nothing(queue):
    queue.enqueue([job("taken")])
    before = everything(queue.store)
    with pytest.raises(RefusedError, match="line 2: the id taken"):
        queue.enqueue([job("a", line=1), job("taken", "false", line=2), job("c", line=3)])
    assert everything(queue.store) == before


def test_a_batch_may_repeat_existing_jobs(queue):
    queue.enqueue([job("a"), job("b")])
    assert queue.enqueue([job("a"), job("c"), job("b")]) == [
        Receipt("a", False),
        Receipt("c", True),
        Receipt("b", False),
    ]
    assert ids(queue) == ["a", "b", "c"]


def test_an_empty_batch_writes_nothing(queue):
    assert queue.enqueue([]) == []
    assert queue.store.log.head().position == 0


# ── someone was faster ──────────────────────────────────────────────────────────────────────────────


class Overtaken(Overriding):
    """A store to which another writer appends just before the first append."""

    def __init__(self, store, meanwhile):
        super().__init__(store)
        self._meanwhile = [meanwhile]

    def append(self, changes, actor):
        if self._meanwhile:
            self._meanwhile.pop()()
            with pytest.raises(VersionConflictError):
                self._store.writer.append(changes, actor)
            raise VersionConflictError
        return self._store.writer.append(changes, actor)


def test_losing_a_race_for_a_key_returns_the_holder(store):
    queue = Queue(Overtaken(store, lambda: add(store, new("faster", unique="k"))), ACTOR)
    assert queue.enqueue([job("slow", unique="k")]) == [Receipt("faster", False)]


def test_losing_a_race_for_an_id_is_refused(store):
    queue = Queue(Overtaken(store, lambda: add(store, new("a", priority=5))), ACTOR)
    with pytest.raises(RefusedError, match="the id a is taken"):
        queue.enqueue([job("a")])


def test_a_batch_that_lost_a_race_is_decided_again_as_a_whole(store):
    queue = Queue(Overtaken(store, lambda: add(store, new("b"))), ACTOR)
    assert queue.enqueue([job("a"), job("b")]) == [Receipt("a", True), Receipt("b", False)]
    assert ids(queue) == ["b", "a"]


class Behind(Overriding):
    """A store that returns old versions of its jobs even under the log's lock, as a damaged index can."""

    def __init__(self, store, *jobs):
        super().__init__(store)
        self._jobs, self.tries = {job.id: job for job in jobs}, 0

    def load(self, job_id):
        return self._jobs.get(job_id)

    def load_all(self, ids):
        return {job_id: self._jobs.get(job_id) for job_id in ids}

    def version(self, stream_id):
        return 0

    def append(self, changes, actor):
        self.tries += 1
        assert self.tries < 3, "it retries without end"
        return self._store.writer.append(changes, actor)


@pytest.mark.parametrize(
    "change",
    [
        lambda queue: queue.cancel(["a"]),
        lambda queue: queue.cancel_those_that_can(["a"]),
        lambda queue: queue.enqueue([job("b")]),
        lambda queue: queue.pause("q"),
        lambda queue: queue.claim(claimant(), (), 1, lambda job: True, ["a"]),
    ],
)
def test_a_conflict_under_the_lock_is_reported_as_damage(store, change):
    [seen] = add(store, new("a"))
    add(store, more(seen, e.Cancelled()), new("b"), note(store, queue_stream("q"), e.QueueResumed()))
    before = everything(store)
    with pytest.raises(StoreError, match=r"the queue is damaged.*`queuectl recover`"):
        change(Queue(Behind(store, seen), ACTOR))
    assert everything(store) == before


def test_a_stale_result_that_lost_a_race_is_recorded_as_rejected(store):
    queue = Queue(store, ACTOR)
    queue.enqueue([job("a")])
    [known] = queue.execute([Claim("a", claimant())])
    queue.execute([Report("a", 1, Exit(e.LostWorker("w1")))])
    queue.execute([Report("a", 1, Exit())], {"a": known})
    assert [record.type for record in store.log.records()][-1] == "result_rejected"
    assert store.log.load("a").state == "pending"
