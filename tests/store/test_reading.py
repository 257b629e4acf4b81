"""Reading: one job, the log in pages, ids by prefix, lists of rows."""

import pytest

from queuectl.domain import events as e
from queuectl.domain.job import fold
from queuectl.domain.machine import State
from queuectl.domain.names import SETTINGS_STREAM, queue_stream
from queuectl.store.rows import JobFilter
from tests.support.builders import (
    SECOND,
    a_spec,
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

# ── one stream ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "life",
    [
        [],
        [claimed()],
        [claimed(), retried(), claimed(2), buried(2), e.Requeued(), claimed(3), completed(3)],
        [e.Cancelled(), e.Purged()],
        [e.Cancelled(), e.Purged(), e.Requeued()],
    ],
)
def test_load_folds_the_stream(store, clock, life):
    add(store, new("other"))
    job = follow(store, clock, "a", a_spec(), *life)
    assert store.log.load("a") == job == fold(store.log.records(stream_id="a"))
    assert store.log.version("a") == job.version == len(life) + 1


def test_a_missing_job_is_refused(store):
    add(store, new("a"))
    assert store.log.load("b") is None
    assert store.log.load("") is None
    assert store.tables.job("b") is None
    assert store.log.version("b") == 0
    assert store.tables.holder("k") is None


def test_a_purged_job_still_loads(store, clock):
    follow(store, clock, "a", a_spec("echo hi"), claimed(), completed(), e.Purged())
    job = store.log.load("a")
    assert (job.state, job.spec.command, job.version) == (State.PURGED, "echo hi", 4)


# ── the log ─────────────────────────────────────────────────────────────────────────────────────────

MANY = 1203


@pytest.fixture
def long(store):
    """A store with more events than a page; two thirds are of one job."""
    setting = e.SettingChanged(key="k", value="v")
    with store.writer.transaction():
        [job] = add(store, new("a"))
        for run in range(1, MANY // 3 + 1):
            tried = more(job, claimed(run), retried(run, wait=0))
            [job, _] = add(store, tried, note(store, SETTINGS_STREAM, setting))
    return store


def places(records):
    return [record.position for record in records]


@pytest.mark.parametrize("after", [0, 1, 499, 500, 501, MANY])
def test_the_log_is_read_across_its_pages(long, after):
    assert places(long.log.records(after=after)) == [*range(after + 1, MANY + 2)]


@pytest.mark.parametrize(
    ("after", "until"), [(0, 0), (0, 1), (0, 500), (0, 501), (3, 1004), (500, 500), (700, 600), (0, MANY + 99)]
)
def test_the_log_is_read_between_two_positions(long, after, until):
    assert places(long.log.records(after=after, until=until)) == [*range(after + 1, min(until, MANY + 1) + 1)]


@pytest.mark.parametrize(
    ("after", "until"), [(0, None), (0, 999), (0, 1000), (0, 1001), (999, 1001), (5, 5), (MANY, MANY + 9)]
)
def test_rows_are_read_across_their_pages(long, after, until):
    rows = list(long.log.stored(after=after, until=until))
    assert places(rows) == [*range(after + 1, min(until or MANY + 1, MANY + 1) + 1)]


def test_one_stream_is_read_across_its_pages(long):
    records = list(long.log.records(stream_id="a"))
    assert [record.version for record in records] == [*range(1, 2 * (MANY // 3) + 2)]
    assert {record.stream_id for record in records} == {"a"}
    assert places(long.log.records(stream_id="a", after=4, until=10)) == [5, 6, 8, 9]
    assert places(long.log.records(stream_id=SETTINGS_STREAM, after=4, until=10)) == [7, 10]
    assert long.log.load("a").run == MANY // 3


def test_a_reader_ends_at_the_head_when_it_began(long):
    reader = long.log.records(after=MANY - 600)
    first = next(reader)
    add(long, new("late"))
    assert places([first, *reader]) == [*range(MANY - 599, MANY + 2)]


# ── ids by prefix ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def named(store, clock):
    add(store, *(new(job_id) for job_id in ("ab1", "ab2", "b", "Ab3", "ab", "ab_%")))
    follow(store, clock, "abc", a_spec(), e.Cancelled(), e.Purged())
    for queue in ("a", "b", "c", "d"):
        add(store, note(store, queue_stream(queue), e.QueuePaused()))
    return store


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("ab", ["ab", "ab1", "ab2", "ab_%", "abc"]),
        ("ab1", ["ab1"]),
        ("abc", ["abc"]),
        ("A", ["Ab3"]),
        ("ab_", ["ab_%"]),
        ("ab%", []),
        ("z", []),
        ("$", []),
        ("$queue", []),
        ("", ["Ab3", "ab", "ab1", "ab2", "ab_%", "abc", "b"]),
    ],
)
def test_streams_by_prefix(named, prefix, found):
    assert sorted(named.history.streams(prefix, 100)) == found


def test_the_limit_counts_only_jobs(named):
    assert len(named.history.streams("ab", 3)) == 3
    assert len(named.history.streams("", 3)) == 3


# ── lists ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def listed(store, clock):
    """Five jobs, at least ten seconds apart."""
    follow(store, clock, "one", a_spec(tags={"team": "x", "env": "p"}, priority=1))
    follow(store, clock, "two", a_spec(queue="mail", tags={"team": "x"}), claimed(), retried())
    follow(store, clock, "three", a_spec(queue="mail"), claimed(), buried())
    follow(store, clock, "four", a_spec(tags={"team": "y"}, priority=9), claimed())
    follow(store, clock, "five", a_spec(delay=SECOND), claimed(), completed())
    return store


def ids(store, **wanted):
    return [row["id"] for row in store.tables.jobs(JobFilter(**wanted))]


ALL = ["five", "four", "three", "two", "one"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ALL),
        ({"descending": False}, ALL[::-1]),
        ({"limit": 2}, ALL[:2]),
        ({"limit": 0}, ALL),
        ({"states": (State.DLQ,)}, ["three"]),
        ({"states": (State.DONE, State.PROCESSING)}, ["five", "four"]),
        ({"failed": True}, ["two"]),
        ({"failed": True, "states": (State.DONE,)}, ["five", "two"]),
        ({"queues": ("mail",)}, ["three", "two"]),
        ({"queues": ("none",)}, []),
        ({"queues": ("none", "mail", "default")}, ALL),
        ({"tags": {"team": "x"}}, ["two", "one"]),
        ({"tags": {"team": "x", "env": "p"}}, ["one"]),
        ({"tags": {"team": "x", "env": "q"}}, []),
        ({"tags": {"x": "team"}}, []),
        ({"sort": "priority"}, ["four", "one", "five", "three", "two"]),
        ({"sort": "id", "descending": False}, ["five", "four", "one", "three", "two"]),
        ({"sort": "attempts", "limit": 3}, ["five", "three", "two"]),
        ({"sort": "updated", "descending": False}, ALL[::-1]),
    ],
)
def test_lists_are_filtered_and_sorted(listed, wanted, found):
    assert ids(listed, **wanted) == found


def test_jobs_can_be_listed_since_a_time(listed):
    third = listed.log.load("three").created_at
    assert ids(listed, since=third) == ["five", "four", "three"]
    assert ids(listed, since=third + SECOND) == ["five", "four"]


@pytest.mark.parametrize("text", ["'", '"', "%", "_", "a.b", "$", "ä"])
def test_a_filter_value_is_not_sql(store, text):
    add(store, new("a", queue=text, tags={text: text}, unique=text), new("b", tags={"x": "y"}))
    assert ids(store, queues=(text,)) == ids(store, tags={text: text}) == ["a"]
    assert store.tables.holder(text) == "a"
    assert store.tables.claimable([text], 5, store.log.now()) == ["a"]


def test_processing_jobs_are_listed_with_their_worker(listed):
    assert listed.tables.processing() == [("four", 1)]


def test_loading_several_jobs_equals_loading_each(store):
    add(store, new("a"), new("b"))
    add(store, more(store.log.load("b"), claimed()))
    assert store.log.load_all(["b", "nobody", "a"]) == {
        "b": store.log.load("b"),
        "nobody": None,
        "a": store.log.load("a"),
    }
