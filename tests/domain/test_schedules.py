"""The slots of a schedule: which make a job, which are skipped and why, and how its state follows."""

from itertools import count, pairwise, takewhile

import pytest
from msgspec.structs import replace

from queuectl.domain import events as e
from queuectl.domain.schedule import (
    CATCH_UPS,
    MOST_JOBS,
    MOST_SLOTS,
    OVERLAPS,
    Obstacle,
    Schedule,
    View,
    decide_due,
    decide_end,
    decide_resume,
    evolve_schedule,
)
from tests.support.events import SECOND, a_spec

MINUTE = 60 * SECOND
HOUR, DAY = 60 * MINUTE, 24 * 60 * MINUTE
T0 = 20_000 * DAY
"""The moment at which each schedule here is set."""


def definition(**changes):
    return e.ScheduleSet(job=a_spec(), every=MINUTE, start=T0, next=T0 + MINUTE, **changes)


def record(event, version=1, at=T0):
    return e.RecordedEvent(version, "$schedule:s", version, at, "ann@box", event)


def a_schedule(**changes):
    return evolve_schedule(None, record(definition(**changes)))


def view(now, every=MINUTE, **changes):
    def slots(after):
        return count(T0 + ((after - T0) // every + 1) * every, every)

    return View(now=now, slots=slots, stamp=lambda slot: str(slot // SECOND), **changes)


def decided(schedule, now, **changes):
    """Each event in short: a job's slot, or (first, last, count, reason); slots in minutes."""
    found = decide_due(schedule, view(now, **changes))
    for before, after in pairwise(found):
        assert before.next == (after.slot if isinstance(after, e.ScheduleFired) else after.first)
    return [short(event) for event in found]


def short(event):
    def at(moment):
        return (moment - T0) // MINUTE

    if isinstance(event, e.ScheduleFired):
        return at(event.slot)
    return (at(event.first), at(event.last), event.count, event.reason)


def test_nothing_is_decided_before_a_slot():
    assert decide_due(a_schedule(), view(T0 + MINUTE - 1)) == []


def test_a_slot_makes_a_job():
    late = 3 * SECOND
    assert decide_due(a_schedule(), view(T0 + MINUTE + late)) == [
        e.ScheduleFired(slot=T0 + MINUTE, job=f"s.{(T0 + MINUTE) // SECOND}", late=late, next=T0 + 2 * MINUTE)
    ]


def test_three_days_without_a_worker_make_one_job_and_one_note():
    assert decided(a_schedule(), T0 + 3 * DAY + 5 * SECOND) == [(1, 4319, 4319, "late"), 4320]


def test_all_missed_slots_run_that_are_young_enough():
    schedule = a_schedule(catch_up="all", overlap="allow", within=10 * MINUTE)
    assert decided(schedule, T0 + 20 * MINUTE) == [(1, 9, 9, "late"), *range(10, 21)]


def test_no_missed_slot_runs_when_catch_up_is_none():
    schedule = a_schedule(catch_up="none", overlap="allow")
    assert decided(schedule, T0 + 20 * MINUTE + SECOND) == [(1, 19, 19, "late"), 20]
    assert decided(schedule, T0 + 20 * MINUTE + SECOND, every=15 * MINUTE) == [(15, 15, 1, "late")]


def test_a_slot_within_the_grace_is_not_missed():
    schedule = a_schedule(catch_up="none", overlap="allow", grace=5 * MINUTE)
    assert decided(schedule, T0 + 20 * MINUTE + SECOND) == [(1, 15, 15, "late"), 16, 17, 18, 19, 20]


def test_an_old_slot_is_late_even_if_it_is_the_last():
    assert decided(a_schedule(within=HOUR), T0 + 5 * HOUR, every=4 * HOUR) == [240]
    assert decided(a_schedule(within=HOUR), T0 + 6 * HOUR, every=4 * HOUR) == [(240, 240, 1, "late")]


def test_nothing_is_decided_while_an_earlier_job_lives():
    assert decided(a_schedule(), T0 + HOUR, live="s.1") == []
    assert decided(a_schedule(overlap="allow"), T0 + MINUTE, live="s.1") == [1]


def test_slots_during_an_earlier_job_are_skipped_in_one_note():
    fired = e.ScheduleFired(slot=T0 + MINUTE, job="s.1", next=T0 + 2 * MINUTE)
    schedule = evolve_schedule(a_schedule(), record(fired, 2))
    ended = T0 + 90 * MINUTE + 30 * SECOND
    assert decided(schedule, T0 + 91 * MINUTE, ended=ended) == [(2, 90, 89, "overlap"), 91]
    note = decide_due(schedule, view(T0 + 91 * MINUTE, ended=ended))[0]
    assert (note.by, note.next) == ("s.1", T0 + 91 * MINUTE)


def test_with_skip_no_second_slot_is_decided_with_a_job():
    """The job that was just added is in the way of the slots after it."""
    schedule = a_schedule(grace=HOUR)
    found = decide_due(schedule, view(T0 + 3 * MINUTE))
    assert [short(event) for event in found] == [1]
    assert found[0].next == T0 + 2 * MINUTE


def test_an_obstacle_skips_a_slot_and_is_named():
    def obstacle(slot):
        return Obstacle("taken", "mine") if slot == T0 + 2 * MINUTE else None

    schedule = a_schedule(overlap="allow", grace=HOUR)
    found = decide_due(schedule, view(T0 + 3 * MINUTE, obstacle=obstacle))
    assert [short(event) for event in found] == [1, (2, 2, 1, "taken"), 3]
    assert found[1].by == "mine"


def test_a_schedule_ends_at_its_end():
    schedule = a_schedule(until=T0 + 2 * MINUTE, overlap="allow", grace=HOUR)
    found = decide_due(schedule, view(T0 + 2 * MINUTE + SECOND))
    assert [short(event) for event in found] == [1, 2]
    assert found[-1].next is None


def test_missed_slots_of_an_ended_schedule_are_expired():
    assert decided(a_schedule(until=T0 + 5 * MINUTE), T0 + HOUR) == [(1, 5, 5, "expired")]


def test_the_offset_moves_the_end_too():
    schedule = a_schedule(until=T0 + 5 * MINUTE, offset=3 * MINUTE, spread=HOUR, catch_up="none")
    assert decided(schedule, T0 + 6 * MINUTE) == [(1, 2, 2, "late"), 3]


def test_a_schedule_is_late_from_its_grace_on():
    schedule = a_schedule(grace=5 * MINUTE)
    assert [schedule.late_by(T0 + minutes * MINUTE) for minutes in (0, 5, 6, 8)] == [None, None, 5 * MINUTE, 7 * MINUTE]
    assert replace(schedule, paused_at=T0).late_by(T0 + HOUR) is None


def test_the_offset_moves_every_slot():
    schedule = a_schedule(offset=30 * SECOND, spread=MINUTE)
    assert schedule.next_at == T0 + 90 * SECOND
    assert decide_due(schedule, view(T0 + 89 * SECOND)) == []
    found = decide_due(schedule, view(T0 + 91 * SECOND))
    assert [(event.slot, event.late) for event in found] == [(T0 + MINUTE, SECOND)]


def test_many_slots_are_decided_on_in_parts():
    schedule, now = a_schedule(), T0 + (MOST_SLOTS + 100) * MINUTE
    first = decide_due(schedule, view(now))
    assert [short(event) for event in first] == [(1, MOST_SLOTS, MOST_SLOTS, "late")]
    schedule = evolve_schedule(schedule, record(first[0], 2))
    assert decided(schedule, now) == [(MOST_SLOTS + 1, MOST_SLOTS + 99, 99, "late"), MOST_SLOTS + 100]


def test_many_jobs_are_added_in_parts():
    schedule = a_schedule(overlap="allow", catch_up="all")
    found = decide_due(schedule, view(T0 + 3 * HOUR))
    assert len(found) == MOST_JOBS
    assert found[-1].next == T0 + (MOST_JOBS + 1) * MINUTE


def paused(at):
    return evolve_schedule(a_schedule(), record(e.SchedulePaused(), 2, at))


def test_a_paused_schedule_decides_nothing():
    schedule = paused(T0 + 90 * SECOND)
    assert (schedule.next_at, schedule.paused_by) == (None, "ann@box")
    assert decide_due(schedule, view(T0 + HOUR)) == []


def test_resuming_skips_the_slots_of_the_pause():
    slots = range(T0 + MINUTE, T0 + 6 * MINUTE, MINUTE)
    found = decide_resume(slots[:2], slots[2:], T0 + 6 * MINUTE)
    assert [event.next for event in found] == [T0 + 3 * MINUTE, T0 + 6 * MINUTE, T0 + 6 * MINUTE]
    assert [short(event) for event in found[:-1]] == [(1, 2, 2, "late"), (3, 5, 3, "paused")]
    assert found[-1] == e.ScheduleResumed(next=T0 + 6 * MINUTE)


def test_resuming_at_once_skips_nothing():
    assert decide_resume((), (), T0 + MINUTE) == [e.ScheduleResumed(next=T0 + MINUTE)]


def test_undecided_slots_are_noted_when_a_schedule_ends():
    passed = range(T0 + MINUTE, T0 + HOUR + 1, MINUTE)
    [note] = decide_end(a_schedule(), passed, T0 + HOUR + MINUTE)
    assert (short(note), note.next) == ((1, 60, 60, "changed"), T0 + HOUR + MINUTE)
    assert decide_end(paused(T0), passed, None)[0].reason == "paused"
    assert decide_end(a_schedule(), (), T0 + MINUTE) == []


def test_the_state_follows_from_the_events():
    events = [
        definition(),
        e.ScheduleFired(slot=T0 + MINUTE, job="s.1", next=T0 + 2 * MINUTE),
        e.ScheduleFired(slot=T0 + 99, job="s.m1", manual=True),
        e.ScheduleSkipped(first=T0 + 2 * MINUTE, last=T0 + 9 * MINUTE, count=8, reason="late", next=T0 + 10 * MINUTE),
    ]
    schedule = None
    for version, event in enumerate(events, 1):
        schedule = evolve_schedule(schedule, record(event, version))
    assert (schedule.last_slot, schedule.next_slot, schedule.last_job, schedule.version) == (
        T0 + 9 * MINUTE,
        T0 + 10 * MINUTE,
        "s.m1",
        4,
    )
    again = evolve_schedule(schedule, record(definition(), 5, T0 + HOUR))
    assert (again.anchor, again.last_job) == (T0 + HOUR, "s.m1")
    assert evolve_schedule(again, record(e.ScheduleRemoved(), 6)) is None


def test_events_of_a_schedule_that_is_gone_change_nothing():
    assert evolve_schedule(None, record(e.SchedulePaused())) is None


@pytest.mark.parametrize("now", range(0, 400, 7))
def test_every_slot_is_decided_on_exactly_once(now):
    """Whatever the moments at which workers look."""
    schedule = a_schedule(overlap="allow", catch_up=("latest", "all", "none")[now % 3], grace=now * SECOND)
    seen, moment, version = [], T0, 1
    while moment < T0 + 2 * HOUR:
        moment += (now * 37 % 600 + 1) * SECOND
        for event in decide_due(schedule, view(moment)):
            version += 1
            schedule = evolve_schedule(schedule, record(event, version))
            if isinstance(event, e.ScheduleFired):
                seen.append(event.slot)
            else:
                run = [*takewhile(lambda slot: slot <= event.last, count(event.first, MINUTE))]  # noqa: B023
                assert len(run) == event.count
                seen += run
    assert seen == [T0 + number * MINUTE for number in range(1, len(seen) + 1)]
    assert len(seen) == (moment - T0) // MINUTE
    assert isinstance(schedule, Schedule)


def test_an_event_of_no_schedule_changes_only_the_version():
    before = a_schedule()
    assert evolve_schedule(before, record(e.QueuePaused(), 2)) == replace(before, version=2)


def test_the_choices_have_these_names():
    assert OVERLAPS == ("skip", "queue", "allow")
    assert CATCH_UPS == ("latest", "all", "none")
