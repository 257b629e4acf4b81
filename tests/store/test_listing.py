"""Questions of `list` and completion to a store: the order of jobs under a limit and filters, ends of ids, batches."""

import random

import pytest
from msgspec.structs import replace

from queuectl.application.job_ids import resolve
from queuectl.application.listing import TURN, Selection, job_filter, list_jobs
from queuectl.application.membership import Members
from queuectl.application.overview import overview
from queuectl.application.queue import NewJob, Queue
from queuectl.application.time_travel import as_of
from queuectl.domain import events as e
from queuectl.domain.commands import Exit, Report
from queuectl.domain.machine import State
from queuectl.errors import NoSuchJobError, UsageError
from queuectl.store.rows import Count, JobFilter
from tests.support.builders import ACTOR, HOUR, SECOND, START, a_spec, claimant

SOON, LATE = START + HOUR, START + 2 * HOUR


def add(to: Queue, job_id: str, **promises: object) -> None:
    to.enqueue([NewJob(a_spec("true", **promises), job_id)])


def listed(queue: Queue, limit: int, states: tuple[str, ...] = (), **narrowing: object) -> list[str]:
    wanted = replace(job_filter(Selection(states), TURN), **narrowing)
    return [row["id"] for row in list_jobs(queue, wanted, limit).rows]


@pytest.fixture
def queue(store) -> Queue:
    """Jobs of each kind, of which some have the tag `mine` and the batch `b`."""
    queue = Queue(store, ACTOR)
    mine = {"tags": {"mine": "1"}, "batch": "b"}
    for number in range(6):
        add(queue, f"plain-{number}")
    add(queue, "late", at=LATE, **mine)
    add(queue, "soon", at=SOON, **mine)
    add(queue, "low", priority=-1, **mine)
    add(queue, "high", priority=5, **mine)
    add(queue, "asleep", queue="paused", priority=9, **mine)
    queue.pause("paused")
    return queue


ORDER = ["high", "low", "asleep", "soon", "late"]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 4, 5, 9])
def test_filters_keep_the_order_of_starting(queue, limit):
    assert listed(queue, limit, batch="b") == (ORDER[:limit] if limit else ORDER)
    assert listed(queue, limit, tags={"mine": "1"}) == (ORDER[:limit] if limit else ORDER)


NARROWER = {
    "failed": True,
    "tags": {"mine": "1"},
    "since": START,
    "ended_by": START,
    "batch": "b",
    "origin": "schedule",
    "signature": "0" * 8,
    "ids": ("low", "high"),
    "text": "high",
    "positions": (1, 3),
    "held": True,
    "dependent": True,
    "timed": True,
    "unchanged_since": 1,
}
"""A value for each field of a filter that asks for more than states and queues."""


@pytest.mark.parametrize("field", NARROWER)
def test_a_cut_list_knows_how_many_jobs_there_are(queue, field):
    for states in ((), ("pending",)):
        wanted = replace(job_filter(Selection(states), "-created"), **{field: NARROWER[field]})
        assert list_jobs(queue, wanted, 1).total == len(list_jobs(queue, wanted, 0).rows)
        assert not wanted.is_counted


def test_the_counts_know_how_many_jobs_states_and_queues_have(queue):
    others = {"states", "queues", "sort", "now", "descending", "limit"}
    assert NARROWER.keys() == {*JobFilter.__struct_fields__} - others
    wanted = replace(job_filter(Selection(("pending",), ("paused",)), TURN), limit=7, now=START)
    assert wanted.is_counted
    assert list_jobs(queue, wanted, 1).total == 1


def test_any_limit_shows_the_beginning_of_the_whole_order(queue):
    whole = listed(queue, 0)
    assert whole == ["high", *(f"plain-{number}" for number in range(6)), *ORDER[1:]]
    assert [listed(queue, limit) for limit in range(1, 12)] == [whole[:limit] for limit in range(1, 12)]


def test_running_and_ended_jobs_stand_round_the_waiting_ones(queue, clock):
    running = queue.claim(claimant(), ("default",), 2, lambda job: True)
    queue.execute([Report(running[1].id, running[1].run, Exit(None, SECOND, "", ""))])
    rest = [f"plain-{number}" for number in range(1, 6)]
    whole = ["high", *rest, *ORDER[1:], "plain-0"]
    assert [listed(queue, limit) for limit in (0, 1, 3, 11)] == [whole, whole[:1], whole[:3], whole]
    assert listed(queue, 0, ("pending",)) == whole[1:-1]


def test_retrying_jobs_are_in_the_order_of_their_retries(queue):
    for job in queue.claim(claimant(), ("default",), 2, lambda job: True):
        queue.execute([Report(job.id, job.run, Exit(e.Exited(1), SECOND, "", ""))])
    assert set(listed(queue, 0, ("retrying",))) == {"high", "plain-0"}
    assert len(listed(queue, 1, ("retrying",))) == 1


# ── the end of an id ────────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_an_id_finds_the_job(store):
    queue = Queue(store, ACTOR)
    for job_id in ("build_one", "buildXone", "abc", "rest.one"):
        add(queue, job_id)
    assert resolve(store, ACTOR, ["ld_one"]) == ["build_one"]
    assert resolve(store, ACTOR, ["t.one"]) == ["rest.one"]
    add(queue, "other_one")
    with pytest.raises(UsageError, match="ambiguous"):
        resolve(store, ACTOR, ["_one"])
    for text in ("XONE", "one", "zzabc", "%one", "rest-one"):
        with pytest.raises(NoSuchJobError):
            resolve(store, ACTOR, [text])


def test_a_purged_job_is_found_by_its_end(store):
    queue = Queue(store, ACTOR)
    add(queue, "old-twin")
    queue.cancel(["old-twin"])
    queue.purge(["old-twin"])
    assert resolve(store, ACTOR, ["twin"]) == ["old-twin"]


def test_ends_of_ids_agree_with_reading_all_of_them(store):
    rng = random.Random(3)
    queue = Queue(store, ACTOR)
    ids = sorted({"".join(rng.choices("ab_.", k=rng.randrange(1, 9))).join("xy") for _ in range(60)})
    queue.enqueue([NewJob(a_spec("true"), job_id) for job_id in ids])
    for _ in range(100):
        end = rng.choice(ids)[-rng.randrange(1, 6) :]
        assert sorted(store.history.ending(end, 100)) == [each for each in ids if each.endswith(end)]


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────────


def test_names_of_batches_are_found_by_their_beginning(store):
    queue = Queue(store, ACTOR)
    for number, name in enumerate(("grid", "grid", "gray", "other", None)):
        add(queue, f"j{number}", batch=name)
    assert store.batches.names("", 50) == ["gray", "grid", "other"]
    assert store.batches.names("gr", 50) == ["gray", "grid"]
    assert store.batches.names("", 2) == ["gray", "grid"]
    assert store.batches.names("x", 50) == []


def test_the_overview_of_a_batch_has_only_its_jobs(queue):
    assert queue.store.tables.counts(JobFilter(batch="b")) == [
        Count("default", State.PENDING, 4),
        Count("paused", State.PENDING, 1),
    ]
    shown, _ = overview(queue, live=True, wanted=JobFilter(batch="b"))
    assert shown["states"][State.PENDING] == 5
    assert shown["oldest_due"]["id"] == "low"
    nothing, _ = overview(queue, live=True, wanted=JobFilter(batch="none"))
    assert (nothing["queues"], nothing["oldest_due"], nothing["next_due"]) == ([], None, None)


# ── since, and jobs of any kind ─────────────────────────────────────────────────────────────────────────


def test_since_is_exact_within_a_second_now_and_in_the_past(store, clock):
    queue = Queue(store, ACTOR)
    for job_id in ("first", "second", "third"):
        add(queue, job_id)
        clock.advance(1000)
    moment = next(store.log.records(stream_id="second")).recorded_at
    for look in (store, as_of(store, "head")):
        assert look.tables.ids(JobFilter(since=moment)) == ["third", "second"]
        assert look.tables.ids(JobFilter(since=moment + 1)) == ["third"]
        assert look.tables.counts(JobFilter(since=moment)) == [Count("default", State.PENDING, 2)]


def test_members_are_the_jobs_that_the_filter_lists(store):
    queue = Queue(store, ACTOR)
    add(queue, "a", queue="ci", tags={"t": "1"}, batch="b")
    add(queue, "b", queue="ci", tags={"t": "2"})
    add(queue, "c", batch="b")
    queue.pause("ci")
    streams = ("a", "b", "c", "$queue:ci", "$batch:b", "none")
    for wanted, found in (
        (JobFilter(queues=("ci",)), {"a", "b", "$queue:ci"}),
        (JobFilter(batch="b"), {"a", "c", "$batch:b"}),
        (JobFilter(tags={"t": "1"}), {"a"}),
        (JobFilter(queues=("ci",), batch="b"), {"a"}),
        (JobFilter(states=(State.PENDING,), batch="b"), {"a", "c"}),
        (JobFilter(states=(State.DONE,)), set()),
    ):
        assert {each for each in streams if Members(store, wanted).has(each)} == found


def test_a_purged_job_is_a_member_by_its_events(store):
    queue = Queue(store, ACTOR)
    add(queue, "gone", queue="ci", tags={"t": "1"}, batch="b")
    queue.cancel(["gone"], "")
    queue.purge(["gone"], "")
    assert store.tables.job("gone") is None
    for wanted in (JobFilter(queues=("ci",)), JobFilter(tags={"t": "1"}), JobFilter(batch="b")):
        assert Members(store, wanted).has("gone")
    assert not Members(store, JobFilter(queues=("mail",))).has("gone")


def test_jobs_without_the_value_sorted_by_come_last(store, clock):
    queue = Queue(store, ACTOR)
    for number, took in enumerate((3, 1, 2)):
        add(queue, f"ran-{number}")
        [job] = queue.claim(claimant(), ("default",), 1, lambda job: True)
        queue.execute([Report(job.id, job.run, Exit(None, took * SECOND, "", ""))])
        clock.advance(SECOND)
    add(queue, "unfinished")

    def order(sort: str) -> str:
        rows = list_jobs(queue, job_filter(Selection(), sort), 0).rows
        return " ".join(row["id"].removeprefix("ran-") for row in rows)

    assert order("duration") == "1 2 0 unfinished"
    assert order("-duration") == "0 2 1 unfinished"
    assert order("finished") == "0 1 2 unfinished"
    assert order("-finished") == "2 1 0 unfinished"
