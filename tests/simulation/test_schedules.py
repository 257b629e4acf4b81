"""Years of schedules in virtual time: every slot is decided on once, whatever happens to the workers."""

from contextlib import nullcontext

import pytest

from queuectl.application import schedule_firing
from queuectl.domain import events as e
from queuectl.domain.names import schedule_stream
from queuectl.store.rows import Change
from queuectl.worker.scheduler import Scheduler
from tests.simulation.schedules import SimulatedYear, zones


@pytest.mark.parametrize("seed", range(6))
def test_every_slot_of_a_year_is_accounted_for(seed):
    year = SimulatedYear(seed)
    judged = year.run(0.5)
    assert judged.findings == []
    assert judged.checked["slot"] > 20
    year.close()


def test_the_years_meet_every_kind_of_note_and_kill():
    types, reasons, died, jumps = set(), set(), 0, 0
    for seed in range(6, 14):
        year = SimulatedYear(seed)
        assert year.run(0.4).findings == []
        notes = [record.event for record in year.store.log.notes("$schedule:", 1 << 60)]
        types |= {type(event) for event in notes}
        reasons |= {event.reason for event in notes if isinstance(event, e.ScheduleSkipped)}
        died, jumps = died + year.died, jumps + year.jumps
        year.close()
    assert len(types) == 6
    assert {"overlap", "late", "paused", "changed"} <= reasons
    assert died > 5
    assert jumps > 5


def advance_first(store, schedule, events, actor):
    """The mutant: it says what it has done, and then does it, in two transactions."""
    stream = Change(schedule_stream(schedule.name), schedule.version, events)
    store.writer.append([stream], actor)
    jobs = [schedule_firing._job(schedule, event) for event in events if isinstance(event, e.ScheduleFired)]
    store.writer.append(jobs, actor)


def test_the_audit_finds_notes_that_come_before_their_jobs(monkeypatch):
    monkeypatch.setattr(schedule_firing, "append_decision", advance_first)
    year = SimulatedYear(2)
    year.mortality = 0
    judged = year.run(0.1)
    assert judged.found["slot"] > 0
    assert "was not added before it" in judged.findings[0].what


def jobs_first(store, schedule, events, actor):
    """The other mutant: jobs in one transaction, notes in another."""
    jobs = [schedule_firing._job(schedule, event) for event in events if isinstance(event, e.ScheduleFired)]
    store.writer.append(jobs, actor)
    store.writer.append([Change(schedule_stream(schedule.name), schedule.version, events)], actor)


def test_the_audit_finds_jobs_that_no_note_names(monkeypatch):
    monkeypatch.setattr(schedule_firing, "append_decision", jobs_first)
    monkeypatch.setattr(Scheduler, "transaction", lambda self: nullcontext())
    found = 0
    for seed in range(4):
        year = SimulatedYear(seed)
        year.mortality = 0.1
        found += year.run(0.3).found["slot"]
    assert found > 0


def test_there_are_forty_zones():
    assert len(set(zones())) == 40
