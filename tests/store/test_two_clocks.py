"""The order of the log and the wall clock: a clock that was ahead once changes no due time."""

from contextlib import closing

import pytest

from queuectl.application.bulk import finished
from queuectl.application.explain import explain
from queuectl.application.listing import EVERY, TURN, Selection, job_filter, list_jobs
from queuectl.application.overview import overview
from queuectl.application.queue import Queue
from queuectl.application.time_travel import as_of, before_the_log
from queuectl.checks.audit import audit
from queuectl.domain.commands import Amend, Exit, Report
from queuectl.domain.events import After, Changes, Exited, WorkerStarted
from queuectl.render.job_rows import Order, job_table
from queuectl.runtime import LogClock
from queuectl.units import DAY, format_time
from tests.support.builders import ACTOR, HOUR, SECOND, a_spec, add, claimant, claimed, new, note

AHEAD = pytest.mark.parametrize("ahead", [2 * HOUR, 400 * DAY])


def take(store, limit=5):
    return [job.id for job in Queue(store, "w1").claim(claimant("w1"), (), limit, lambda job: True)]


def explanation(store, job_id):
    return explain(store, job_id, live=False, machine_losses=3).why


def by_turn(store):
    return [row["id"] for row in list_jobs(Queue(store, ACTOR), job_filter(EVERY, TURN), 0).rows]


def listed(store):
    """The lines of `list` on the jobs that are not due, without the column of ages."""
    found = list_jobs(Queue(store, ACTOR), job_filter(EVERY, "-created"), 0)
    waiting = [row for row in found.rows if row["id"] in found.starts]
    lines = job_table(waiting, found.now, None, False, Order(starts=found.starts)).splitlines()
    return [line.split()[1:-3] for line in lines]


@pytest.fixture
def was_ahead(store, clock):
    """Record one event with a clock that is ahead, then set the clock right."""

    def record(ahead, *changes):
        clock.turn(ahead)
        add(store, *(changes or [new("early")]))
        clock.turn(-ahead)

    return record


@AHEAD
def test_a_job_recorded_by_a_clock_ahead_runs_at_once(store, was_ahead, ahead):
    was_ahead(ahead)
    assert take(store) == ["early"]


@AHEAD
def test_a_delay_lasts_as_long_as_it_says(store, clock, was_ahead, ahead):
    was_ahead(ahead, new("early", delay=3 * SECOND))
    add(store, new("later", delay=4 * SECOND))
    assert take(store) == []
    clock.advance(3 * SECOND)
    assert take(store) == ["early"]
    clock.advance(SECOND - 1)
    assert take(store) == []
    clock.advance(1)
    assert take(store) == ["later"]


@AHEAD
def test_a_given_time_is_by_the_wall_clock(store, clock, was_ahead, ahead):
    was_ahead(ahead)
    take(store)
    add(store, new("at", at=clock.now() + 90 * 60 * SECOND))
    clock.advance(90 * 60 * SECOND - 1)
    assert take(store) == []
    clock.advance(1)
    assert take(store) == ["at"]


@AHEAD
def test_a_backoff_lasts_as_long_as_it_says(store, clock, was_ahead, ahead):
    was_ahead(ahead, new("early", backoff_base=2))
    take(store)
    Queue(store, "w1").execute([Report("early", 1, Exit(Exited(1)))])
    clock.advance(2 * SECOND - 1)
    assert take(store) == []
    clock.advance(1)
    assert take(store) == ["early"]


@AHEAD
def test_an_edited_delay_lasts_as_long_as_it_says(store, was_ahead, ahead, clock):
    """A job that is edited so that it waits for another one keeps its due time, which the clock has set wrongly."""
    was_ahead(ahead, new("early", delay=3 * SECOND))
    add(store, new("first"))
    Queue(store, ACTOR).execute([Amend("early", Changes(after=(After("first"),)))])
    take(store)
    Queue(store, "w1").execute([Report("first", 1, Exit(None))])
    clock.advance(3 * SECOND - 1)
    assert take(store) == []
    clock.advance(1)
    assert take(store) == ["early"]


def test_priority_orders_jobs_recorded_by_a_clock_ahead(store, was_ahead):
    was_ahead(DAY, new("low", priority=-1), new("high", priority=3), new("other"))
    add(store, new("now"))
    assert take(store) == ["high", "other", "now", "low"]


def test_a_paused_queue_keeps_jobs_recorded_by_a_clock_ahead(store, was_ahead):
    was_ahead(DAY)
    Queue(store, ACTOR).pause("default")
    assert take(store) == []


def test_next_due_counts_the_wait_of_a_clock_that_was_ahead(store, clock, was_ahead):
    was_ahead(DAY, new("early", delay=4 * SECOND))
    now = clock.now()
    assert store.tables.next_due((), now, store.log.behind_for()) == now + 4 * SECOND
    clock.advance(3 * SECOND)
    assert store.tables.next_due((), now + 3 * SECOND, store.log.behind_for()) == now + 4 * SECOND


def test_status_says_when_a_worker_will_start_a_misdated_job(store, clock, was_ahead):
    was_ahead(DAY, new("early", delay=4 * SECOND))
    shown, now = overview(Queue(store, "me"), live=True)
    assert shown["next_due"] == format_time(now + 4 * SECOND)


def test_at_a_position_of_a_log_that_was_ahead_the_log_had_begun(store, clock, was_ahead):
    was_ahead(DAY)
    add(store, new("now"))
    assert [before_the_log(store, as_of(store, text)) for text in ("head", "2", "1")] == ["", "", ""]
    assert "there is nothing before that" in before_the_log(store, as_of(store, format_time(clock.now())))


@AHEAD
def test_a_wait_continues_in_the_next_process(store, clock, was_ahead, ahead):
    was_ahead(ahead, new("early", delay=4 * SECOND), new("much later", delay=HOUR))
    for second in range(4):
        store.log.clock = LogClock(clock)  # a process that has just started
        Queue(store, "w1").note_worker("w1", WorkerStarted(host="box", pid=10, slots=1))
        add(store, new(f"other-{second}", priority=-1))
        assert take(store) == [f"other-{second}"], "it has waited for less than its delay"
        assert f"{4 - second}s more" in " ".join(explain(store, "early", live=True, machine_losses=3).why)
        clock.advance(SECOND)
    store.log.clock = LogClock(clock)
    assert store.tables.next_due((), clock.now(), 0) == clock.now()
    assert take(store) == ["early"]
    assert audit(store.log.records()).clean


def test_the_list_says_when_a_misdated_job_starts(store, clock, was_ahead):
    was_ahead(DAY, new("early", delay=4 * SECOND))
    add(store, new("later", delay=9 * SECOND))
    clock.advance(SECOND)
    store.log.clock = LogClock(clock)
    found = list_jobs(Queue(store, ACTOR), job_filter(EVERY, "-created"), 0)
    assert found.starts == {"early": clock.now() + 3 * SECOND}
    lines = job_table(found.rows, found.now, 80, False, Order(starts=found.starts)).splitlines()
    assert [line.partition("in ")[2][:2] for line in lines[1:]] == ["8s", "3s"]
    assert by_turn(store) == ["early", "later"]
    clock.advance(4 * SECOND)
    add(store, new("due"), new("paused", queue="ci"))
    Queue(store, ACTOR).pause("ci")
    assert by_turn(store) == ["early", "due", "paused", "later"]
    first = list_jobs(Queue(store, ACTOR), job_filter(Selection(states=("pending",)), TURN), 1)
    assert [row["id"] for row in first.rows] == ["early"]


@AHEAD
def test_the_past_measures_such_a_wait_as_the_present_did(store, clock, was_ahead, ahead):
    was_ahead(ahead, new("early", delay=4 * SECOND), new("much later", delay=HOUR))
    seen = {}
    for second in range(5):
        store.log.clock = LogClock(clock)  # a process that has just started
        add(store, new(f"other-{second}"))
        now = clock.now()
        seen[store.log.head().position] = [
            explanation(store, "early"),
            explanation(store, "much later"),
            listed(store),
            store.tables.next_due((), now, store.log.behind_for()),
            store.tables.claimable((), 9, now, behind_for=store.log.behind_for()),
        ]
        clock.advance(SECOND)
    clock.advance(ahead + HOUR)
    add(store, new("in order again"))
    for position, present in seen.items():
        with closing(as_of(store, str(position))) as past:
            assert present == [
                explanation(past, "early"),
                explanation(past, "much later"),
                listed(past),
                past.tables.next_due((), past.log.wall(), past.log.behind_for()),
                past.tables.claimable((), 9, past.log.wall(), behind_for=past.log.behind_for()),
            ]
    assert ["early" in line for *_, line in seen.values()] == [False, False, False, False, True]


def test_a_wait_recorded_by_a_second_wrong_clock_is_not_cut_short(store, clock, was_ahead):
    was_ahead(DAY)
    assert take(store) == ["early"]
    clock.advance(HOUR)
    was_ahead(2 * HOUR, new("delayed", delay=10 * SECOND))
    add(store, new("now"))
    clock.advance(10 * SECOND - 1)
    store.log.clock = LogClock(clock)
    assert take(store) == ["now"]
    clock.advance(1)
    store.log.clock = LogClock(clock)
    assert take(store) == ["delayed"]


def test_a_wait_starts_again_after_another_clock_change(store, clock, was_ahead):
    was_ahead(DAY)
    assert take(store) == ["early"]
    clock.advance(30 * SECOND)
    add(store, new("delayed", delay=20 * SECOND))
    clock.turn(-HOUR)
    assert take(store) == []
    clock.advance(20 * SECOND)
    assert take(store) == ["delayed"]


def test_the_clock_of_an_event_is_noted_only_while_it_is_behind(store, clock, was_ahead):
    was_ahead(DAY)
    add(store, new("now"))
    clock.advance(2 * DAY)
    add(store, new("later"))
    assert [record.event.clock is None for record in store.log.records()] == [True, False, True]


def test_a_noted_clock_does_not_make_an_identical_job_differ(store, clock, was_ahead):
    was_ahead(DAY)
    add(store, new("again"))
    job = store.log.load("again")
    assert job.spec == a_spec()
    assert job.due_at == clock.now()


def test_jobs_that_ended_are_found_by_the_clock_of_their_rows(store, clock, was_ahead):
    was_ahead(DAY)
    take(store)
    Queue(store, "w1").execute([Report("early", 1, Exit())])
    assert finished(Queue(store, "me"), EVERY, older_than=0) == ["early"]
    assert finished(Queue(store, "me"), EVERY, older_than=SECOND) == []


def test_the_audit_counts_waits_by_the_clock_of_the_events(store, clock, was_ahead):
    was_ahead(DAY)
    take(store)
    add(store, new("later", delay=4 * SECOND))
    clock.advance(4 * SECOND)
    take(store)
    assert audit(store.log.records()).clean
    add(store, new("too early", delay=4 * SECOND))
    job = store.log.load("too early")
    clock.advance(3 * SECOND)
    add(store, type(new("x"))(job.id, job.version, [claimed()], job))
    [finding] = audit(store.log.records()).findings
    assert (finding.rule, finding.what) == ("due", "claimed 1000000 us before it was due")


def test_the_audit_believes_a_wait_that_no_event_shows(store, clock, was_ahead):
    """The clock is set back a second time, between two events: only the worker has seen how long the job waited."""
    was_ahead(HOUR, new("early", delay=4 * SECOND))
    who = claimant("w1")
    add(store, note(store, "$worker:w1", WorkerStarted(host=who.host, pid=who.pid, slots=1)))
    clock.advance(SECOND)
    assert take(store) == []
    clock.turn(-3 * SECOND)
    assert take(store) == []
    clock.advance(4 * SECOND)
    assert take(store) == ["early"]
    assert store.log.load("early").claim.waited == 4 * SECOND
    assert audit(store.log.records()).clean


def test_a_claim_at_its_due_time_says_nothing_of_its_wait(store, clock, was_ahead):
    was_ahead(HOUR, new("early"))
    add(store, new("later", delay=SECOND))
    clock.advance(SECOND)
    assert take(store) == ["early", "later"]
    assert [store.log.load(job).claim.waited for job in ("early", "later")] == [SECOND, None]
