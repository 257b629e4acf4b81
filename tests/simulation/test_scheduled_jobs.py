"""Workers that add the jobs of schedules, in virtual time: downtime, pauses, clocks, changes, and what idling costs."""

import logging
from itertools import count

import pytest

from queuectl import timetable
from queuectl.application import schedule_firing, schedule_views
from queuectl.application.explain import explain
from queuectl.application.queue import Queue
from queuectl.application.schedules import Put, Schedules
from queuectl.checks.audit import audit
from queuectl.domain import events as e
from queuectl.domain.names import schedule_stream
from queuectl.store.rows import JobFilter
from tests.simulation.connection import Connection
from tests.simulation.driver import Driver, spec
from tests.simulation.world import SECOND, Script

MINUTE = 60 * SECOND
HOUR, DAY = 60 * MINUTE, 24 * 60 * MINUTE


class Schedule:
    """A queue with schedules."""

    def __init__(self, **options):
        self.driver = Driver(**options)
        self.schedules = Schedules(self.driver.user)
        self.store, self.clock = self.driver.store, self.driver.clock
        self.clock.elapsed = -(self.clock.now() % DAY) % DAY  # midnight, UTC

    def add(self, name="s", cron="* * * * *", *, change=False, job=None, **fields):
        when = {} if "every" in fields else {"cron": cron}
        definition = e.ScheduleSet(job=job or spec(), **{**when, **fields})
        self.schedules.add(Put(name, definition), change=change)

    def lasts(self, seconds):
        """Every job lasts so long."""
        self.driver.world.script = lambda job: Script(lasts=round(seconds * SECOND))

    def notes(self, name="s"):
        """(slots, reason) for each note; a job's reason is None."""
        found = []
        for record in self.store.history.notes(schedule_stream(name), 1 << 60):
            match record.event:
                case e.ScheduleFired():
                    found.append((1, None))
                case e.ScheduleSkipped(count=slots, reason=reason):
                    found.append((slots, reason))
        return found

    def jobs(self):
        return self.store.tables.ids(JobFilter(limit=0))

    def check(self):
        judged = audit(self.store.log.records())
        assert judged.findings == []


@pytest.fixture
def queue():
    made = Schedule()
    yield made
    made.check()


def test_a_worker_adds_a_job_each_minute(queue):
    queue.add()
    queue.driver.add_worker()
    queue.driver.run(5 * 60 + 5)
    assert queue.notes() == [(1, None)] * 5
    assert all(queue.driver.state(job_id) == "done" for job_id in queue.jobs())


def test_an_idle_worker_adds_a_job_on_time(queue):
    queue.add(every=HOUR, start=queue.clock.now())
    queue.driver.add_worker()
    queue.driver.run(3605)
    [fired] = [
        each.event for each in queue.store.history.notes("$schedule:s", 99) if isinstance(each.event, e.ScheduleFired)
    ]
    assert fired.late < SECOND // 10


def test_three_days_down_make_one_job_and_one_note(queue):
    queue.add()
    queue.clock.advance(3 * DAY)
    queue.driver.add_worker()
    queue.driver.run(10)
    assert queue.notes() == [(4319, "late"), (1, None)]


def test_a_paused_queue_gets_one_job_and_one_note(queue):
    """A day, in which a worker looks at each slot. The job waits, so the others are skipped when it is over."""
    queue.add(cron="*/5 * * * *")
    queue.driver.user.pause()
    queue.driver.add_worker(lease=600 * SECOND)
    for _ in range(DAY // (5 * MINUTE)):
        queue.clock.advance(5 * MINUTE - 10 * SECOND)
        queue.driver.run(10)
    assert queue.notes() == [(1, None)]
    assert len(queue.jobs()) == 1
    queue.driver.user.resume()
    queue.driver.run(360)
    assert queue.notes() == [(1, None), (287, "overlap"), (1, None)]


def test_slots_during_a_long_job_are_skipped_in_one_note(queue):
    queue.add()
    queue.lasts(150)
    queue.driver.add_worker()
    queue.driver.run(8 * 60)
    assert queue.notes()[:5] == [(1, None), (2, "overlap"), (1, None), (2, "overlap"), (1, None)]


def test_with_allow_jobs_overlap(queue):
    queue.add(overlap="allow")
    queue.lasts(150)
    queue.driver.add_worker(slots=4)
    queue.driver.run(5 * 60 + 1)
    assert queue.notes() == [(1, None)] * 5


def test_with_queue_jobs_run_one_by_one(queue):
    queue.add(overlap="queue")
    queue.lasts(100)
    queue.driver.add_worker(slots=4)
    queue.driver.run(4 * 60 + 30)
    assert queue.notes() == [(1, None)] * 4
    first, second, third, fourth = sorted(queue.jobs())
    assert [queue.driver.state(job_id) for job_id in (first, second, third, fourth)] == [
        *("done", "done", "processing", "pending")
    ]
    assert queue.store.log.load(second).spec.after == (e.After(first, "end"),)


def test_missed_jobs_run_one_by_one_too(queue):
    queue.add(overlap="queue", catch_up="all")
    queue.clock.advance(5 * MINUTE)
    queue.lasts(5)
    queue.driver.add_worker(slots=4)
    queue.driver.run(40)
    starts = [queue.driver.history(job_id)[-1] for job_id in sorted(queue.jobs())]
    assert starts == ["completed"] * 5
    ends = [record.position for job_id in sorted(queue.jobs()) for record in queue.driver.records(job_id)[-1:]]
    claims = [queue.driver.records(job_id)[-2].position for job_id in sorted(queue.jobs())]
    assert all(end < claim for end, claim in zip(ends, claims[1:], strict=False))


def test_two_workers_add_each_job_once(queue):
    queue.add()
    for _ in range(3):
        queue.driver.add_worker()
    queue.driver.run(10 * 60 + 5)
    assert queue.notes() == [(1, None)] * 10


def test_a_job_finds_its_schedule_and_its_time(queue):
    queue.add(name="backup", cron="0 2 * * *", tz="Europe/Berlin", job=spec(env={"A": "b"}))
    queue.driver.add_worker(lease=600 * SECOND)
    queue.driver.run_until(queue.jobs, 86_400)
    [job_id] = queue.jobs()
    job = queue.store.log.load(job_id)
    moment = queue.schedules.named("backup").last_slot
    assert job_id == f"backup.{timetable.stamp(moment)}"
    expected = timetable.local_iso(moment, timetable.zone("Europe/Berlin"))
    assert job.spec.env == {"A": "b", "QUEUECTL_SCHEDULE": "backup", "QUEUECTL_SCHEDULED_FOR": expected}
    assert job.spec.origin == e.Origin("schedule", "backup", slot=moment)
    assert expected[10:19] == "T02:00:00"


def test_a_clock_that_is_set_forward_is_noticed_soon(queue):
    """Also a machine that was suspended: its monotonic clock stood still."""
    queue.add(cron="0 12 * * *")
    queue.driver.add_worker()
    queue.driver.run(60)
    queue.clock.jumped = 13 * HOUR
    queue.driver.run(10)
    assert queue.notes() == [(1, None)]


def test_a_clock_that_is_set_back_adds_nothing_twice(queue):
    queue.add()
    queue.driver.add_worker()
    queue.driver.run(10 * 60 + 5)
    queue.clock.jumped = -5 * MINUTE
    queue.driver.run(4 * 60)
    assert queue.notes() == [(1, None)] * 10
    queue.driver.run(2 * 60)
    assert queue.notes() == [(1, None)] * 11


def test_a_clock_that_was_ahead_adds_nothing_twice(queue):
    queue.add()
    queue.driver.add_worker()
    queue.clock.jumped = HOUR
    queue.driver.run(30)
    early = queue.notes()
    queue.clock.jumped = 0
    queue.driver.run(30 * 60)
    assert queue.notes() == early
    queue.add(change=True)
    queue.driver.run(5 * 60)
    assert len(queue.notes()) > len(early)


def test_a_changed_schedule_still_waits_for_its_running_job(queue):
    queue.add()
    queue.lasts(200)
    queue.driver.add_worker()
    queue.driver.run(70)
    queue.add(change=True, job=spec(command="other"))
    queue.driver.run(60)
    assert queue.notes() == [(1, None)]
    queue.driver.run(4 * 60)
    commands = [queue.store.log.load(job_id).spec.command for job_id in queue.jobs()]
    assert sorted(set(commands)) == ["other", "work"]


def test_a_schedule_that_is_removed_adds_no_more(queue):
    queue.add()
    queue.driver.add_worker()
    queue.driver.run(65)
    queue.schedules.remove(["s"])
    queue.driver.run(5 * 60)
    assert len(queue.jobs()) == 1
    assert queue.store.schedules.all() == []


ENDS = {
    "resume": lambda queue: queue.schedules.resume(["s"]),
    "remove": lambda queue: queue.schedules.remove(["s"]),
    "change": lambda queue: queue.add(change=True, cron="0 0 * * *"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("when", [{}, {"every": SECOND, "start": 0}])
def test_passed_slots_are_counted_before_the_lock(queue, monkeypatch, end, when):
    """The slots of an interval are counted without a loop."""
    asked = []

    def watched(real):
        def moments(*arguments):
            for moment in real(*arguments):
                asked.append(queue.driver.shared.locked)
                yield moment

        return moments

    queue.add(**when)
    queue.schedules.pause(["s"])
    queue.clock.advance(30 * DAY if when else 3 * DAY)
    for name in ("cron_moments", "interval_moments"):
        monkeypatch.setattr(schedule_firing, name, watched(getattr(schedule_firing, name)))
    ENDS[end](queue)
    assert queue.notes() == [(30 * 86_400 if when else 3 * 1440, "paused")]
    assert asked.count(True) <= 5
    assert len(asked) <= (10 if when else 3 * 1440 + 5)


def test_slots_before_a_pause_are_late(queue):
    queue.add(offset=30 * SECOND, spread=MINUTE)
    queue.clock.advance(2 * MINUTE + 20 * SECOND)
    queue.schedules.pause(["s"])
    queue.clock.advance(3 * MINUTE)
    queue.schedules.resume(["s"])
    assert queue.notes() == [(1, "late"), (3, "paused")]


def test_a_change_before_the_lock_is_counted_again(queue):
    """Another person replaces the schedule after its slots were counted."""
    other = Schedules(Queue(Connection(queue.driver.shared, lambda point: change()), "other@node:2"))
    left = [1]

    def change():
        if left and left.pop():
            queue.add(change=True, cron="0 * * * *")
            queue.schedules.pause(["s"])
            queue.clock.advance(2 * HOUR)

    queue.add()
    queue.schedules.pause(["s"])
    queue.clock.advance(5 * MINUTE)
    other.resume(["s"])
    assert queue.notes() == [(5, "paused"), (2, "paused")]


def test_a_unique_key_that_is_taken_skips_a_slot(queue):
    queue.driver.enqueue("mine", Script(lasts=90 * SECOND), unique="k")
    queue.add(job=spec(unique="k"), overlap="allow")
    queue.driver.add_worker(slots=2)
    queue.driver.run(3 * 60 + 5)
    assert queue.notes() == [(1, "overlap"), (1, None), (1, None)]


def test_an_id_that_is_taken_skips_a_slot(queue):
    slot = queue.clock.now() + MINUTE
    queue.driver.enqueue(f"s.{timetable.stamp(slot)}")
    queue.add()
    queue.driver.add_worker()
    queue.driver.run(2 * 60 + 5)
    assert queue.notes() == [(1, "taken"), (1, None)]


def test_a_zone_that_is_gone_stops_only_its_schedule(queue, monkeypatch, caplog):
    queue.add(name="here")
    queue.add(name="gone", tz="Europe/Berlin")
    known = timetable.zone

    def zone(name):
        if name == "Europe/Berlin":
            raise timetable.UnknownZoneError("this machine has no time zone 'Europe/Berlin'")
        return known(name)

    for module in (timetable, schedule_views, schedule_firing):
        monkeypatch.setattr(module, "zone", zone)
    with caplog.at_level(logging.WARNING):
        queue.driver.add_worker()
        queue.driver.run(5 * 60 + 5)
    assert queue.notes("here") == [(1, None)] * 5
    assert queue.notes("gone") == []
    said = [record.getMessage() for record in caplog.records if "gone" in record.getMessage()]
    assert said == ["schedule gone: this machine has no time zone 'Europe/Berlin'"]
    [row] = [each for each in schedule_views.rows(queue.store, live=True) if each["name"] == "gone"]
    assert (row["late"] >= 240, row["late_why"]) == (True, "this machine has no time zone 'Europe/Berlin'")
    monkeypatch.undo()
    queue.driver.run(2 * 60)
    assert queue.notes("gone")[0] == (5, "late")


def test_a_corrupt_row_stops_only_its_schedule_until_a_rebuild(queue, caplog):
    caplog.set_level(logging.WARNING)
    queue.add(name="here")
    queue.add(name="torn")
    queue.store.engine.run("UPDATE schedules SET definition = '{' WHERE name = 'torn'")
    queue.driver.add_worker()
    queue.driver.run(3 * 60 + 5)
    assert (queue.notes("here"), queue.notes("torn")) == ([(1, None)] * 3, [])
    assert "the table row of schedule torn is corrupt: queuectl rebuild" in caplog.text
    assert str(queue.store.upkeep.rebuild().first[0]).startswith("schedules torn: definition is")
    queue.driver.run(2 * 60)
    assert queue.notes("torn")[-1] == (1, None)


def test_a_row_that_is_behind_its_events_decides_nothing(queue, caplog):
    caplog.set_level(logging.WARNING)
    queue.add()
    queue.store.engine.run("UPDATE schedules SET version = version - 1")
    queue.driver.add_worker()
    queue.driver.run(65)
    assert queue.jobs() == []
    assert "its table row and its events disagree: queuectl rebuild" in caplog.text


def test_explain_says_what_a_long_job_keeps_back(queue):
    queue.add()
    queue.lasts(400)
    queue.driver.add_worker()
    queue.driver.run(4 * 60)
    [job_id] = queue.jobs()
    why = " ".join(explain(queue.store, job_id, live=False, machine_losses=3).why)
    assert "schedule s made it for " in why
    assert "are skipped, because it is not over (--overlap skip)" in why


def test_a_worker_that_stops_adds_nothing(queue):
    queue.add()
    queue.lasts(200)
    worker = queue.driver.add_worker()
    queue.driver.run(65)
    worker.worker.stop()
    queue.driver.run(120)
    assert queue.notes() == [(1, None)]


def test_a_drain_takes_what_is_due(queue):
    queue.add()
    queue.clock.advance(3 * MINUTE)
    worker = queue.driver.add_worker(drain=True)
    assert queue.driver.run_until(lambda: not worker.alive, 60)
    assert queue.notes() == [(2, "late"), (1, None)]


def statements(queue, seconds):
    """How many statements the store runs meanwhile, and the workers' ticks."""
    engine, counter = queue.store.engine, count()
    real = engine.run

    def run(*arguments):
        next(counter)
        return real(*arguments)

    engine.run = run
    try:
        queue.driver.run(seconds)
    finally:
        del engine.run
    return next(counter)


def test_schedules_cost_an_idle_worker_next_to_nothing():
    """Two thousand of them: two statements each five seconds more than without any."""
    alone, many = Schedule(), Schedule()
    many.schedules.apply([Put(f"s{n}", e.ScheduleSet(job=spec(), cron="0 12 * * *")) for n in range(2000)])
    for queue in (alone, many):
        queue.driver.add_worker()
        queue.driver.run(10)
    assert statements(many, 60) - statements(alone, 60) <= 3 * 60 / 5


def test_two_thousand_jobs_are_added_in_a_few_seconds():
    queue = Schedule()
    queue.schedules.apply([Put(f"s{n}", e.ScheduleSet(job=spec(), cron="0 * * * *")) for n in range(2000)])
    queue.clock.advance(HOUR)
    queue.driver.user.pause()
    queue.driver.add_worker()
    queue.driver.run(2)
    assert len(queue.jobs()) == 2000
    queue.check()
