"""The jobs whose runs ended in a part of the time, and how that time is written."""

import pytest

from queuectl.application.ended_jobs import ended_runs, span_of
from queuectl.application.listing import Selection, job_filter, list_jobs
from queuectl.application.queue import Queue
from queuectl.application.time_travel import as_of
from queuectl.domain import events as e
from queuectl.errors import UsageError
from queuectl.store import open_store
from queuectl.units import DAY, MINUTE
from tests.support.builders import (
    ACTOR,
    SECOND,
    START,
    SettableClock,
    a_spec,
    buried,
    claimed,
    completed,
    follow,
    retried,
)

NEVER = START + 99 * MINUTE


@pytest.fixture
def store():
    """Events ten seconds apart: `early` ends at 30 s, `twice` at 60 and 80 s, `off` at 110 s, and `late` at 140 s."""
    clock = SettableClock()
    store = open_store(":memory:", clock)
    follow(store, clock, "early", a_spec(), claimed(), completed())
    follow(store, clock, "twice", a_spec(), claimed(), retried(), claimed(2), buried(2))
    follow(store, clock, "off", a_spec(), e.Cancelled())
    follow(store, clock, "late", a_spec(), claimed(), completed())
    yield store
    store.close()


def ends(store, start, end):
    return ended_runs(store, (START + start * SECOND, START + end * SECOND)).by_job


def test_every_end_of_a_run_is_in_its_time(store):
    times = {record.stream_id: record.recorded_at for record in store.log.records()}
    assert times["early"] < times["twice"] < times["late"]
    found = ended_runs(store, (times["early"], times["late"])).by_job
    assert found == {"early": ["completed"], "twice": ["retry_scheduled", "dead_lettered"]}
    assert ended_runs(store, (times["early"] + 1, times["late"] + 1)).by_job.keys() == {"twice", "late"}


def test_a_job_that_never_ran_has_not_ended_a_run(store):
    assert "off" not in ends(store, 0, 10_000)


def test_the_counts_are_those_of_the_runs(store):
    found = ended_runs(store, (START, NEVER))
    assert (found.count("completed"), found.count("retry_scheduled"), found.count("dead_lettered")) == (2, 1, 1)
    assert found.is_whole


def test_of_a_busy_time_only_the_last_events_are_read(store):
    found = ended_runs(store, (START, NEVER), most=3)
    assert (list(found.by_job), found.is_whole) == (["late"], False)


def test_the_list_has_only_these_jobs_now_and_then(store):
    queue = Queue(store, ACTOR)
    wanted = ended_runs(store, (START, NEVER)).narrowed(job_filter(Selection(), "created"))
    assert [row["id"] for row in list_jobs(queue, wanted, 0).rows] == ["early", "twice", "late"]
    assert list_jobs(queue, wanted, 2).total == 3
    past = as_of(store, "4")
    then = ended_runs(past, (START, NEVER)).narrowed(job_filter(Selection(), "created"))
    assert [row["id"] for row in list_jobs(Queue(past, ACTOR), then, 0).rows] == ["early"]


@pytest.mark.parametrize(
    ("text", "span"),
    [("-2h..-1h", (-7200, -3600)), ("-1h", (-3600, None)), ("-1h..", (-3600, None)), ("-1h..+1h", (-3600, 3600))],
)
def test_a_time_is_written_with_its_two_ends(text, span):
    now = 100 * DAY
    begin, end = span
    assert span_of(text, now) == (now + begin * SECOND, now + 1 if end is None else now + end * SECOND)


@pytest.mark.parametrize("text", ["", "..", "..-1h", "never..now", "-1h..never", "-1h..-2h", "now..now"])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(UsageError):
        span_of(text, 100 * DAY)
