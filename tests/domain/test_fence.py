"""The fence: a run that is no longer the current one changes nothing, also when a late writer decides again.

These tests use the real store: its version check makes a late writer decide again."""

import pytest

from queuectl.application.queue import NewJob, Queue
from queuectl.domain.commands import Claim, Requeue, decide
from queuectl.domain.events import (
    Cancelled,
    CancelRequested,
    Exited,
    LostWorker,
    NotStarted,
    Requeued,
    ResultRejected,
    Signalled,
    TimedOut,
)
from queuectl.errors import RefusedError
from queuectl.store import open_store
from queuectl.store.errors import VersionConflictError
from tests.domain.scenario import (
    ID,
    SECOND,
    START,
    a_job,
    buried,
    claim,
    claimant,
    claimed,
    completed,
    fails,
    given,
    loses_its_worker,
    release,
    retried,
    succeeds,
)
from tests.support.overriding import Overriding

REPORTS = [
    (succeeds(duration=7), "completed", 7),
    (fails(cause=Exited(2), duration=7), "exited", 7),
    (fails(cause=Signalled(9)), "signalled", 0),
    (fails(cause=TimedOut(SECOND)), "timed_out", 0),
    (fails(cause=NotStarted("no shell")), "not_started", 0),
    (release(duration=7), "released", 7),
]
"""Results of run 1, and how each is recorded when run 1 is not the current one."""

STALE = {
    "lost, pending": [retried(cause=LostWorker("w1"), wait=0)],
    "lost, run 2 is on": [retried(cause=LostWorker("w1"), wait=0), claimed(2, "w2")],
    "run 2 was the last": [retried(cause=LostWorker("w1"), wait=0), claimed(2, "w2"), completed(2)],
    "buried": [buried(cause=LostWorker("w1"))],
    "cancelled": [CancelRequested(run=1), Cancelled(run=1)],
    "requeued": [completed(), Requeued()],
}


# ── the rule ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("since", STALE.values(), ids=STALE)
@pytest.mark.parametrize(("report", "outcome", "duration"), REPORTS, ids=[outcome for _, outcome, _ in REPORTS])
def test_a_stale_result_is_recorded_and_changes_nothing(since, report, outcome, duration):
    job = given(a_job(), claimed(), *since)
    before = job.job
    after = job.when(report).then(ResultRejected(run=1, outcome=outcome, duration=duration))
    assert without_version(after.job) == without_version(before)


@pytest.mark.parametrize("since", STALE.values(), ids=STALE)
def test_a_stale_report_of_a_lost_worker_records_nothing(since):
    """Two workers noticed the same loss; there is no result to record."""
    given(a_job(), claimed(), *since).when(loses_its_worker(1)).nothing()


@pytest.mark.parametrize("run", [0, 2, 99])
def test_a_run_that_never_existed_is_fenced_too(run):
    given(a_job(), claimed()).when(succeeds(run)).then(ResultRejected(run=run, outcome="completed")).is_now(
        "processing"
    )


def test_the_current_run_passes_the_fence():
    given(a_job(), claimed(), retried(), claimed(2)).when(succeeds(2)).then(completed(2)).is_now("done")


def without_version(job):
    return {name: getattr(job, name) for name in job.__struct_fields__ if name not in ("version", "updated_at")}


# ── the late writer ─────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.at = START

    def now(self):
        return self.at

    def monotonic(self):
        return self.at


class WatchedStore(Overriding):
    """The store; it counts the conflicts that it reports, and fails if there are more than a few."""

    conflicts = 0

    def append(self, changes, actor):
        try:
            return self._store.writer.append(changes, actor)
        except VersionConflictError:
            self.conflicts += 1
            assert self.conflicts < 5, "the caller decided the same again and again"
            raise


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def here(clock, tmp_path):
    """The queue of the worker whose run becomes stale."""
    store = WatchedStore(open_store(str(tmp_path / "queue.db"), clock))
    yield Queue(store, "w1")
    store.close()


@pytest.fixture
def there(clock, tmp_path, here):
    """The queue of the others, through another connection."""
    store = WatchedStore(open_store(str(tmp_path / "queue.db"), clock))
    yield Queue(store, "w2")
    store.close()


def enqueue(queue, *ids, **promises):
    queue.enqueue([NewJob(a_job(**promises), job_id) for job_id in ids or (ID,)])


def execute(queue, *commands, known=None):
    return queue.execute(list(commands), known)


def events_of(queue, stream_id=ID):
    return [record.event for record in queue.store.log.records(stream_id=stream_id)]


def tables(queue):
    """The tables without the columns that every event of a job changes."""
    rows = [queue.store.tables.job(job_id) for job_id in queue.store.history.streams("", 99)]
    return (
        [{**row, "version": None, "updated_at": None} for row in rows],
        queue.store.tables.counts(),
        queue.store.tables.dlq(),
    )


def free_and_claim_again(queue):
    execute(queue, loses_its_worker(1))
    (job,) = execute(queue, claim("w2"))
    return job


@pytest.mark.parametrize(("report", "outcome", "duration"), REPORTS, ids=[outcome for _, outcome, _ in REPORTS])
def test_a_late_result_is_decided_again_and_rejected(clock, here, there, report, outcome, duration):
    enqueue(here, ID, "bystander")
    (mine,) = execute(here, claim("w1"))
    assert free_and_claim_again(there).run == 2
    expected = there.store.log.load(ID), tables(there), there.store.log.head().position
    assert decide(report, mine, clock.now()) != [ResultRejected(run=1, outcome=outcome, duration=duration)]

    (left,) = execute(here, report, known={ID: mine})

    assert here.store.conflicts == 1
    assert events_of(here)[-1] == ResultRejected(run=1, outcome=outcome, duration=duration)
    assert without_version(left) == without_version(expected[0])
    assert tables(here) == expected[1]
    assert here.store.log.head().position == expected[2] + 1
    assert left == here.store.log.load(ID)


def test_a_late_result_does_not_undo_two_completions(here, there):
    enqueue(here)
    (mine,) = execute(here, claim("w1"))
    free_and_claim_again(there)
    execute(there, succeeds(2, stdout="right"))
    (left,) = execute(here, fails(1, stdout="wrong"), known={ID: mine})
    assert (left.state, left.attempts, left.stdout) == ("done", 2, "right")
    assert events_of(here)[-2:] == [completed(2, stdout="right"), ResultRejected(run=1, outcome="exited")]


def test_a_late_report_of_a_lost_worker_writes_nothing(here, there):
    enqueue(here)
    (mine,) = execute(here, claim("w1"))
    free_and_claim_again(there)
    head = there.store.log.head()
    (left,) = execute(here, loses_its_worker(1), known={ID: mine})
    assert here.store.conflicts == 1
    assert (here.store.log.head(), left) == (head, there.store.log.load(ID))


@pytest.mark.parametrize(
    ("report", "ends"),
    [
        (succeeds(), completed()),
        (fails(), Cancelled(reason="typo", run=1)),
        (release(), Cancelled(reason="typo", run=1)),
    ],
    ids=["succeeds", "fails", "released"],
)
def test_a_cancel_request_does_not_make_a_run_stale(here, there, report, ends):
    enqueue(here)
    (mine,) = execute(here, claim("w1"))
    there.cancel([ID], "typo")
    execute(here, report, known={ID: mine})
    assert here.store.conflicts == 1
    assert events_of(here)[-2:] == [CancelRequested(run=1, reason="typo"), ends]


def test_a_current_result_is_decided_once(here):
    enqueue(here)
    (mine,) = execute(here, claim("w1"))
    (left,) = execute(here, succeeds(), known={ID: mine})
    assert (here.store.conflicts, left.state) == (0, "done")


def test_of_two_claims_on_one_version_one_is_refused(here, there):
    enqueue(here)
    seen = here.store.log.load(ID)
    execute(there, claim("w2"))
    with pytest.raises(RefusedError, match="job j is processing: cannot claim it"):
        execute(here, claim("w1"), known={ID: seen})
    assert here.store.conflicts == 1
    assert events_of(here)[1:] == [claimed(1, "w2")]


def test_one_refused_command_of_several_writes_nothing(here):
    enqueue(here, "a", "b")
    execute(here, Claim("a", claimant()))
    head = here.store.log.head()
    with pytest.raises(RefusedError, match="job a is processing"):
        execute(here, Claim("b", claimant()), Claim("a", claimant()))
    assert here.store.log.head() == head


# ── unique keys, decided again ──────────────────────────────────────────────────────────────────────────


def done_with_the_same_key(queue, *ids):
    for job_id in ids:
        enqueue(queue, job_id, unique="k")
        queue.cancel([job_id])


def test_requeueing_against_a_live_holder_is_refused(here):
    done_with_the_same_key(here, "a")
    enqueue(here, "b", unique="k")
    with pytest.raises(RefusedError, match="unique key is held by the live job b"):
        here.requeue(["a"])
    assert here.store.tables.job("a")["state"] == "cancelled"


def test_two_jobs_with_one_key_cannot_both_be_requeued(here):
    done_with_the_same_key(here, "a", "b")
    head = here.store.log.head()
    with pytest.raises(RefusedError, match="unique key"):
        here.requeue(["a", "b"])
    assert here.store.log.head() == head


def test_a_unique_key_taken_meanwhile_is_noticed(here, there):
    done_with_the_same_key(here, "a")
    seen = here.store.log.load("a")
    enqueue(there, "b", unique="k")
    with pytest.raises(RefusedError, match="held by the live job b"):
        execute(here, Requeue("a"), known={"a": seen})


# ── in memory ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_fence_holds_in_memory_too(clock):
    store = WatchedStore(open_store(":memory:", clock))
    queue = Queue(store, "w1")
    enqueue(queue)
    (mine,) = execute(queue, claim("w1"))
    free_and_claim_again(queue)
    execute(queue, succeeds(1), known={ID: mine})
    assert (store.conflicts, events_of(queue)[-1]) == (1, ResultRejected(run=1, outcome="completed"))
    store.close()
